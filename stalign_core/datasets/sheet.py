"""A sample sheet for a data set that a user has downloaded."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from stalign_core.datasets.records import DATASETS, Section
from stalign_core.errors import InputDataError
from stalign_core.files import replace_file

SHEET: Final = "samples.csv"
_COLUMNS: Final = ("sample", "donor", "path", "annotation", "region")


def write_sheet(name: str, folder: Path) -> Path:
    """Write ``samples.csv`` into a folder that holds every section of a data set.

    Each section is a Space Ranger output folder ``<sample>`` or a file ``<sample>.h5ad``; its labels, where there are
    any, are ``<sample>_annotation.csv`` beside it.

    Parameters
    ----------
    name
        A name in `stalign_core.datasets.DATASETS`.
    folder
        Where the sections lie.

    Returns
    -------
    The path of the sheet.

    Raises
    ------
    InputDataError
        If there is no such data set, a section is missing, or there is a sheet already.
    """
    if name not in DATASETS:
        raise InputDataError("data set", f"'{name}' is not known", expected="one of " + ", ".join(DATASETS))
    target = folder / SHEET
    if target.exists():
        raise InputDataError(str(target), "exists already", remedy="use it, or remove it")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for section in DATASETS[name].sections:
        labels = f"{section.sample}_annotation.csv"
        annotation = labels if (folder / labels).is_file() else ""
        path = _path_of(section, folder, DATASETS[name].source)
        writer.writerow([section.sample, section.donor, path, annotation, section.region])
    replace_file(target, text.getvalue())
    return target


def _path_of(section: Section, folder: Path, source: str) -> str:
    for candidate in (section.sample, f"{section.sample}.h5ad"):
        if (folder / candidate).exists():
            return candidate
    raise InputDataError(
        str(folder),
        f"holds no section {section.sample}",
        expected=f"a folder {section.sample} or a file {section.sample}.h5ad",
        remedy=f"download it from {source}",
    )

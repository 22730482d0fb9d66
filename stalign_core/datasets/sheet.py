"""A sample sheet for a data set that a user has downloaded."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stalign_core.datasets.files import LAYERS
from stalign_core.datasets.libd import arrange_libd
from stalign_core.datasets.lung import arrange_lung
from stalign_core.datasets.records import DATASETS, Dataset, Section
from stalign_core.errors import InputDataError
from stalign_core.files import replace_file

SHEET: Final = "samples.csv"
_COLUMNS: Final = ("sample", "donor", "path", "image", "annotation", "region")

Arranged = tuple[str, str, str] | None
"""Path, image and annotation of a section, relative to the folder; None where it is not there as published."""

_ARRANGE: Final[dict[str, Callable[[Path, str], Arranged]]] = {"libd": arrange_libd, "usz_lung": arrange_lung}


def write_sheet(name: str, folder: Path) -> Path:
    """Write ``samples.csv`` into a folder that holds every section of a data set.

    A section is there under the names of its published files (`Dataset.files`), or as a Space Ranger folder
    ``<sample>`` or a file ``<sample>.h5ad`` with its labels, where there are any, in ``<sample>_annotation.csv`` or
    ``<sample>/annotation.csv``.
    Published files are arranged below ``arranged/``, by links where the disk knows them. A sheet of the same content
    is left as it is.

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
        If there is no such data set, a section is missing or not the published one, or there is another sheet already.
    """
    if name not in DATASETS:
        raise InputDataError("data set", f"'{name}' is not known", expected="one of " + ", ".join(DATASETS))
    dataset, target = DATASETS[name], folder / SHEET
    if not folder.is_dir():
        raise InputDataError(str(folder), "is no folder", remedy=f"download the data set from {dataset.source}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for section in dataset.sections:
        writer.writerow([section.sample, section.donor, *_found(dataset, section, folder), section.region])
    if not target.exists():
        replace_file(target, text.getvalue())
    elif target.read_bytes() != text.getvalue().encode():
        raise InputDataError(
            str(target),
            "exists already, with other content than these files would give",
            remedy="give it as --samples, or remove it",
        )
    return target


def without_labels(name: str, sheet: Path) -> str:
    """One line where sections of a data set have no labels, and where to get them; else nothing.

    Parameters
    ----------
    name
        A name in `stalign_core.datasets.DATASETS`.
    sheet
        From `write_sheet`.
    """
    with sheet.open(newline="", encoding="utf-8") as stream:
        bare = [row["sample"] for row in csv.DictReader(stream) if not row["annotation"]]
    if not bare:
        return ""
    published = [file for file in DATASETS[name].files if file.name == LAYERS]
    remedy = "".join(f"; download {file.name} from {file.url}" for file in published)
    return f"no labels for {', '.join(bare)}: 'stalign benchmark' needs labels{remedy}"


def _found(dataset: Dataset, section: Section, folder: Path) -> tuple[str, str, str]:
    for candidate in (section.sample, f"{section.sample}.h5ad"):
        # A section's folder of single downloads is not yet one of Space Ranger.
        if (folder / candidate).is_file() or (folder / candidate / "spatial").is_dir():
            places = (f"{section.sample}_annotation.csv", f"{section.sample}/annotation.csv")
            return candidate, "", next((labels for labels in places if (folder / labels).is_file()), "")
    arranged = _ARRANGE[dataset.name](folder, section.sample) if dataset.name in _ARRANGE else None
    if arranged is not None:
        return arranged
    raise InputDataError(
        str(folder),
        f"holds no section {section.sample}",
        expected=_expected(dataset, section),
        remedy=f"download it from {dataset.source}",
    )


def _expected(dataset: Dataset, section: Section) -> str:
    own = [file.name for file in dataset.files if file.needed and section.sample in file.name]
    published = [", ".join(own)] if own else []
    return ", or ".join([*published, f"a folder {section.sample}", f"a file {section.sample}.h5ad"])

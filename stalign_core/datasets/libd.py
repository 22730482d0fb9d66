"""A LIBD section from the files of spatialLIBD and HumanPilot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from stalign_core.datasets.arranging import ARRANGED, check_published, place, write_labels
from stalign_core.datasets.files import LAYERS, counts_of, libd_files
from stalign_core.errors import InputDataError

_POSITIONS: Final = "tissue_positions_list"
_SCALES: Final = "scalefactors_json.json"
_UNLABELLED: Final = frozenset({"", "NA"})


def arrange_libd(folder: Path, section: str) -> tuple[str, str, str] | None:
    """Arrange a section as a Space Ranger folder: its path, full image and labels; None where its counts are not there.

    Positions and scale factors lie in the section's own folder, or have its name before theirs.

    Raises
    ------
    InputDataError
        If positions or scale factors are missing, or counts are not those that were published.
    """
    counts = folder / counts_of(section)
    if not counts.is_file():
        return None
    check_published(folder, next(file for file in libd_files() if file.name == counts.name))
    target = folder / ARRANGED / section
    place(counts, target / "filtered_feature_bc_matrix.h5")
    place(_one_of(folder, section, f"{_POSITIONS}.txt"), target / "spatial" / f"{_POSITIONS}.csv")
    place(_one_of(folder, section, _SCALES), target / "spatial" / _SCALES)
    for kind in ("hires", "lowres"):
        picture = folder / f"{section}_tissue_{kind}_image.png"
        if picture.is_file():
            place(picture, target / "spatial" / f"tissue_{kind}_image.png")
    image = f"{section}_full_image.tif"
    labels = _labels(folder, section)
    if labels:
        write_labels(target / "annotation.csv", labels)
    path = f"{ARRANGED}/{section}"
    return path, image if (folder / image).is_file() else "", f"{path}/annotation.csv" if labels else ""


def _one_of(folder: Path, section: str, name: str) -> Path:
    candidates = (folder / section / name, folder / f"{section}_{name}")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    url = next(file.url for file in libd_files() if file.name == f"{section}/{name}")
    raise InputDataError(
        str(folder),
        f"holds the counts of section {section}, but not its {name}",
        expected=" or ".join(str(each.relative_to(folder)) for each in candidates),
        remedy=f"download it from {url}",
    )


def _labels(folder: Path, section: str) -> list[tuple[str, str]]:
    """Barcodes and layers of a section; none where the table of layers is not there."""
    if not (folder / LAYERS).is_file():
        return []
    with (folder / LAYERS).open(newline="") as stream:
        rows = [row for row in csv.reader(stream, delimiter="\t") if len(row) == 3]
    return [(barcode, layer) for barcode, of, layer in rows if of == section and layer not in _UNLABELLED]

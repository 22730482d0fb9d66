"""A section of the lung cohort from its unpacked archive; labels are a column of its .h5ad."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from stalign_core.datasets.arranging import ARRANGED, write_labels
from stalign_core.datasets.files import LUNG_FOLDER

LABELS: Final = "ground_truth"


def arrange_lung(folder: Path, section: str) -> tuple[str, str, str] | None:
    """Find a section: its .h5ad, its slide and its labels; None where it is not there."""
    path = next(
        (
            at
            for at in (f"{LUNG_FOLDER}/{section}.h5ad", f"h5ad_preprocessed/{section}.h5ad")
            if (folder / at).is_file()
        ),
        None,
    )
    if path is None:
        return None
    slide = str(Path(path).parents[1] / "tif_slides" / f"{section}.tif")
    labels = _labels(folder / path)
    annotation = f"{ARRANGED}/{section}_annotation.csv"
    if labels:
        write_labels(folder / annotation, labels)
    return path, slide if (folder / slide).is_file() else "", annotation if labels else ""


def _labels(path: Path) -> list[tuple[str, str]]:
    """Barcodes and labels, read from the table of spots alone."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(path, "r") as file:
        table: Any = read_elem(file["obs"])
    if LABELS not in table:
        return []
    return [(str(barcode), str(label)) for barcode, label in table[LABELS].dropna().items()]

"""A Visium HD run on disk: bins of several sizes below ``binned_outputs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.builders import Lattice, write_spaceranger_section

MICRONS_PER_PIXEL = 0.5
"""A bin of 16 um is 32 pixels wide."""


def bin_barcodes(lattice: Lattice, size: int) -> list[str]:
    """Barcodes as Space Ranger makes them of a bin's size and array coordinates."""
    return [
        f"s_{size:03d}um_{row:05d}_{column:05d}-1"
        for row, column in zip(lattice.array_row, lattice.array_col, strict=True)
    ]


def bin_lattice(n_rows: int, n_columns: int, size: int) -> Lattice:
    """A full square lattice of bins of `size` micrometres."""
    row, column = (grid.ravel() for grid in np.mgrid[:n_rows, :n_columns])
    pixels = size / MICRONS_PER_PIXEL
    return Lattice(row, column, pixels * (np.column_stack([column, row]) + 0.5))


def write_bins(outputs: Path, size: int, lattice: Lattice, counts: NDArray[Any], **more: Any) -> Path:
    """Write the bins of one size of a run, and return their folder; `more` as in `write_spaceranger_section`."""
    folder = outputs / "binned_outputs" / f"square_{size:03d}um"
    write_spaceranger_section(
        folder,
        counts,
        lattice=lattice,
        **{"positions": "parquet", "barcodes": bin_barcodes(lattice, size), **more},
    )
    path = folder / "spatial" / "scalefactors_json.json"
    factors = json.loads(path.read_text())
    factors |= {
        "spot_diameter_fullres": size / MICRONS_PER_PIXEL,
        "bin_size_um": float(size),
        "microns_per_pixel": MICRONS_PER_PIXEL,
    }
    path.write_text(json.dumps(factors))
    return folder

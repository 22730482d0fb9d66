"""What every input format is read into, before image, annotation and names are added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stalign_core.readers.counts import CountTable
from stalign_core.readers.facts import LatticeKind


@dataclass(frozen=True)
class Section:
    """The in-tissue spots of one section.

    Parameters
    ----------
    table
        Counts of the in-tissue spots under the barcodes that name them from here on.
    array
        (n_spots, 2) array coordinates (row, col), or None where the input has none.
    spatial
        (n_spots, 2) as (x, y) in full-resolution pixels.
    spot_diameter
        Full-resolution pixels; None where the input does not say.
    known_barcodes
        Every barcode of the input, off the tissue as well: an annotation may name them all.
    n_spots_off_tissue
        Spots left out because they lie off the tissue.
    lattice
        The lattice of `array`, where the input says; None: its coordinates tell.
    warnings
        What a user should know, one line each.
    """

    table: CountTable
    array: NDArray[np.int32] | None
    spatial: NDArray[np.float64]
    spot_diameter: float | None
    known_barcodes: NDArray[np.object_]
    n_spots_off_tissue: int
    warnings: tuple[str, ...] = ()
    lattice: LatticeKind | None = None

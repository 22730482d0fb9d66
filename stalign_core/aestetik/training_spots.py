"""Which spots a training passes over, where it is to be a part of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik.lattice_views import TILE


def training_spots(
    lattice: NDArray[np.int32], sample: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Random tiles of each sample that hold this share of its spots, rounded up; the last tile is cut.

    Whole tiles, because spots side by side share most of what is convolved for them: a tenth of the spots, scattered,
    would need nine tenths of the convolutions.

    Parameters
    ----------
    lattice
        (n, 2) packed (row, column).
    sample
        (n,) sample of each spot, from 0.
    fraction
        Above 0, at most 1.
    rng
        Source of the order of the tiles.

    Returns
    -------
    Rows, ascending.
    """
    row, column = (lattice // TILE).T.astype(np.int64)
    key = (sample * (row.max() + 1) + row) * (column.max() + 1) + column
    tile = np.unique(key, return_inverse=True)[1]
    chance = rng.random(tile.max() + 1)[tile]
    order = np.lexsort((tile, chance, sample))
    size = np.bincount(sample)
    place = np.arange(len(sample)) - np.repeat(np.cumsum(size) - size, size)
    wanted = np.ceil(fraction * size).astype(np.int64)
    return np.sort(order[place < np.repeat(wanted, size)])

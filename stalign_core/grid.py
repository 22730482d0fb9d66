"""Where spots lie: lattices, the windows around spots, and their nearest spots.

Everything here is per sample: a function is called once for each sample, so two samples can never share a
window. Only neighbour indices are made, never the tensors they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stalign_core.errors import InputDataError

LatticeKind = Literal["hexagonal", "square", "irregular"]
IntArray = NDArray[np.int32]

_SURROUNDING = 8
"""Nearest spots by which the spacing of irregular spots is measured, as many as surround a cell."""
_MEASURED_PLACES = 10_000
"""Spots, at most, whose spacing is measured."""
_EMPTY_SPACINGS = 2.0
"""A place is empty that has no spot within this many of the widest common (99% quantile) spacing."""


def pack_lattice(array_row: ArrayLike, array_col: ArrayLike, kind: LatticeKind) -> IntArray:
    """Give each spot of one sample its own cell of a filled lattice.

    Visium's hexagonal array uses every second column of a row, so that half of a square window over it is
    empty. Halving the columns fills the lattice; every second row is then displaced by half a cell.

    Parameters
    ----------
    array_row, array_col
        Array positions, each of shape (n,). For ``"irregular"``: coordinates y and x in any unit.
    kind
        ``"hexagonal"``, ``"square"`` or ``"irregular"``.

    Returns
    -------
    (n, 2) packed (row, column), not negative, no two alike. Packed rows of a hexagonal lattice keep the
    parity that tells which of them are displaced.

    Raises
    ------
    InputDataError
        If a position is missing, two spots share one, or a hexagonal array has both parities.
    """
    position = np.column_stack([np.asarray(array_row, dtype=float), np.asarray(array_col, dtype=float)])
    if not np.isfinite(position).all():
        raise InputDataError("spot positions", "are missing or not finite", expected="a number per spot")
    if not len(position):
        return np.zeros((0, 2), dtype=np.int32)
    if kind == "irregular":
        return _pack_irregular(position)
    cells = np.rint(position).astype(np.int64)
    cells = _pack_hexagonal(cells) if kind == "hexagonal" else cells - cells.min(axis=0)
    if len(np.unique(cells, axis=0)) < len(cells):
        raise InputDataError(
            "spot positions",
            "put two spots in one cell of the lattice",
            expected="one spot per array position",
            remedy="remove the duplicate barcodes, or treat the sample as irregular",
        )
    return _as_cells(cells)


def _as_cells(cells: NDArray[np.int64]) -> IntArray:
    packed: IntArray = cells.astype(np.int32)
    return packed


def _pack_hexagonal(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    parity = cells.sum(axis=1) % 2
    if parity.min() != parity.max():
        raise InputDataError(
            "spot positions",
            "have array_row + array_col both even and odd",
            expected="one parity, as on a hexagonal array",
            remedy="treat the sample as square or irregular",
        )
    row, col = cells[:, 0], cells[:, 1] + parity
    # Rows move by an even number, or displaced rows would change places with the others.
    row, col = row - row.min() // 2 * 2, col - col.min() // 2 * 2
    return np.column_stack([row, col // 2])


def _pack_irregular(position: NDArray[np.float64]) -> IntArray:
    """Halve the spots at their median, along the longer side of what cells they have, until each has its own.

    Neighbourhoods come out alike however dense the spots lie: a window holds a spot's surroundings in all directions,
    as the nearest spots of angular sectors would. Unlike those, windows are mutual (if j is in the window of i, i is
    in that of j) and a spot has one cell, which the model's convolutions over shared cells rest on. Spots stand in
    for the wide empty places, so that two pieces of tissue do not become neighbours. Ties go by index.

    Measured on 10,000 simulated centroids: share of the true 8 (24) nearest in the 3 x 3 (5 x 5) window, and the 95%
    quantile of how far the spots of a 5 x 5 window lie, in local spacings. "Binning" settles each spot in the free
    cell nearest to its place on an even grid of twice as many cells.

    ===============================  ==============  ==============  ==============
    density                          halving         binning         sectors
    ===============================  ==============  ==============  ==============
    even                             .61 (.72), 4.4  .48 (.50), 2.7  .65 (.73), 4.1
    thirtyfold from side to side     .57 (.67), 4.9  .48 (.55), 5.3  .66 (.73), 4.1
    half of the spots in clusters    .52 (.59), 10   .28 (.33), 28   .64 (.70), 4.1
    a hole and a gap                 .60 (.70), 4.4  .56 (.63), 3.4  .65 (.72), 4.1
    ===============================  ==============  ==============  ==============

    A million spots take 7 seconds of one core; binning had not ended on 100,000 in clusters after 40.
    """
    stand_ins = _empty_places(position)
    points = np.concatenate([position, stand_ins])
    n_rows = _rows_of(points)
    return _halve(points, n_rows, -(-len(points) // n_rows))[: len(position)]


def _rows_of(points: NDArray[np.float64]) -> int:
    """Rows of a grid with a cell for each of the points and the proportions of their extent."""
    height, width = np.ptp(points, axis=0)
    if height == width == 0:
        height = width = 1.0
    if width == 0:
        return len(points)
    return min(max(round(float(np.sqrt(len(points) * (height / width)))), 1), len(points))


def _empty_places(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of a mesh as wide as the spots' spacing, where no spot is near: (m, 2), at most about one per spot."""
    from scipy.spatial import cKDTree

    # As complex numbers, whose sorting takes a tenth of the time that sorting rows takes.
    distinct = np.unique(position[:, 0] + 1j * position[:, 1])
    places = np.column_stack([distinct.real, distinct.imag])
    extent = np.ptp(places, axis=0)
    if len(places) <= _SURROUNDING or not extent.all():
        return np.zeros((0, 2))
    tree = cKDTree(places)
    some = places[:: -(-len(places) // _MEASURED_PLACES)]
    # A disc around a spot with k others around it has k spacings squared.
    spacing = tree.query(some, k=_SURROUNDING + 1)[0][:, -1] / np.sqrt(_SURROUNDING / np.pi)
    width = max(float(np.median(spacing)), float(np.sqrt(extent.prod() / len(position))))
    axes = [np.arange(low, low + span + width, width) for low, span in zip(places.min(axis=0), extent, strict=True)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    far = _EMPTY_SPACINGS * float(np.quantile(spacing, 0.99))
    empty: NDArray[np.float64] = mesh[np.isinf(tree.query(mesh, distance_upper_bound=far)[0])]
    return empty


def _halve(points: NDArray[np.float64], n_rows: int, n_columns: int) -> IntArray:
    """Cells of `n_rows` x `n_columns` for all points, all blocks of cells halved at once, level by level."""
    n = len(points)
    rank = np.empty((2, n), dtype=np.int64)
    for side_axis in (0, 1):
        rank[side_axis, np.argsort(points[:, side_axis], kind="stable")] = np.arange(n)
    order = np.arange(n)
    count = np.array([n])
    corner = np.zeros((1, 2), dtype=np.int64)
    side = np.array([[n_rows, n_columns]])
    while side.max() > 1:
        axis = (side[:, 0] < side[:, 1]).astype(np.int64)
        block = np.arange(len(count))
        along = np.repeat(block * n, count) + rank[np.repeat(axis, count), order]
        order = order[np.argsort(along)]
        length, breadth = side[block, axis], side[block, 1 - axis]
        half = length // 2
        wanted = np.rint(count * (half / length)).astype(np.int64)
        n_first = np.clip(wanted, count - (length - half) * breadth, half * breadth)
        second_corner, first_side, second_side = corner.copy(), side.copy(), side.copy()
        second_corner[block, axis] += half
        first_side[block, axis] = half
        second_side[block, axis] -= half
        count = np.column_stack([n_first, count - n_first]).ravel()
        filled = count > 0
        count = count[filled]
        corner = np.stack([corner, second_corner], axis=1).reshape(-1, 2)[filled]
        side = np.stack([first_side, second_side], axis=1).reshape(-1, 2)[filled]
    cells = np.empty((n, 2), dtype=np.int64)
    cells[order] = corner
    return _as_cells(cells)


def window_neighbors(lattice: IntArray, window: int) -> IntArray:
    """Indices of the spots in the square window around each spot of one sample.

    Parameters
    ----------
    lattice
        (n, 2) packed (row, column) from `pack_lattice`.
    window
        Side of the window in cells, odd.

    Returns
    -------
    (n, window * window) indices in row-major order of the window, -1 where a cell is empty; the middle
    column is the spot itself.
    """
    half = window // 2
    n_spots = len(lattice)
    neighbors = np.full((n_spots, window * window), -1, dtype=np.int32)
    if not n_spots:
        return neighbors
    row = lattice[:, 0].astype(np.int64) - int(lattice[:, 0].min())
    col = lattice[:, 1].astype(np.int64) - int(lattice[:, 1].min())
    stride = int(col.max()) + 1
    order = np.lexsort((col, row))
    # Ends with rows that match nothing, so that looking `window` places ahead stays inside the arrays.
    sorted_row = np.append(row[order], np.full(window, -(window + 1)))
    sorted_col = np.append(col[order], np.zeros(window, dtype=np.int64))
    sorted_key = row[order] * stride + col[order]
    sorted_spot = np.append(order, np.full(window, -1))
    for row_step in range(-half, half + 1):
        wanted_row = row + row_step
        leftmost = np.maximum(col - half, 0)
        start = np.searchsorted(sorted_key, wanted_row * stride + leftmost)
        for ahead in range(window):
            found = start + ahead
            step = sorted_col[found] - col
            inside = np.flatnonzero((sorted_row[found] == wanted_row) & (step >= -half) & (step <= half))
            place = (row_step + half) * window + step[inside] + half
            neighbors[inside, place] = sorted_spot[found[inside]]
    return neighbors


def lattice_positions(lattice: IntArray, kind: LatticeKind) -> NDArray[np.float64]:
    """Coordinates of packed cells in which neighbouring spots are equally far apart.

    Parameters
    ----------
    lattice
        (n, 2) packed (row, column) from `pack_lattice`.
    kind
        The kind that was packed.

    Returns
    -------
    (n, 2) coordinates (x, y) in units of the distance between neighbouring spots of a row.
    """
    row, col = lattice[:, 0].astype(float), lattice[:, 1].astype(float)
    if kind == "hexagonal":
        # Visium's odd rows lie half a cell to the right of its even ones: array_col = 2 * column + row % 2.
        return np.column_stack([col + 0.5 * (lattice[:, 0] % 2), row * np.sqrt(3) / 2])
    return np.column_stack([col, row])


def nearest_within_samples(samples: Iterable[ArrayLike], n_neighbors: int) -> NDArray[np.int64]:
    """`nearest_spots` of each sample, as rows of all samples' stack: (n, n_neighbors), -1 where there are no more."""
    blocks, start = [], 0
    for positions in samples:
        within = nearest_spots(positions, n_neighbors).astype(np.int64)
        blocks.append(np.where(within >= 0, within + start, -1))
        start += len(within)
    return np.concatenate(blocks)


def nearest_spots(positions: ArrayLike, n_neighbors: int) -> IntArray:
    """The nearest other spots of each spot of one sample.

    Parameters
    ----------
    positions
        (n, 2) coordinates in which distance is isotropic.
    n_neighbors
        How many to find.

    Returns
    -------
    (n, n_neighbors) indices, nearest first, -1 where the sample has no more spots. Equal distances are
    ordered by index.
    """
    from scipy.spatial import cKDTree

    points = np.asarray(positions, dtype=float)
    n_spots = len(points)
    nearest = np.full((n_spots, n_neighbors), -1, dtype=np.int32)
    n_found = min(n_neighbors, n_spots - 1)
    if n_found < 1:
        return nearest
    # A margin of candidates lets equal distances at the border be settled by index, not by the tree.
    n_candidates = min(n_spots, n_found + 9)
    distance, candidate = cKDTree(points).query(points, k=n_candidates)
    unit = np.median(distance[:, 1]) or 1.0
    rank = np.rint(distance / unit * 1e6)
    rank[candidate == np.arange(n_spots)[:, None]] = -1
    order = np.lexsort((candidate, rank), axis=1)
    nearest[:, :n_found] = np.take_along_axis(candidate, order, axis=1)[:, 1 : n_found + 1]
    return nearest

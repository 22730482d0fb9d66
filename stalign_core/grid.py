"""Where spots lie: lattices, the windows around spots, and their nearest spots.

Everything here is per sample: a function is called once for each sample, so two samples can never share a
window. Only neighbour indices are made, never the tensors they stand for.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stalign_core.errors import InputDataError

LatticeKind = Literal["hexagonal", "square", "irregular"]
IntArray = NDArray[np.int32]

CELLS_PER_SPOT = 2.0
"""How much finer than the spots the grid of irregular positions is, as an area: fewer spots contend for a cell."""


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
    """Put each spot into the free cell nearest to it, the closest spots choosing first."""
    extent = np.ptp(position, axis=0)
    sides = np.where(extent > 0, extent, extent.max() / len(position) or 1.0)
    side = float(np.sqrt(sides[0] * sides[1] / (CELLS_PER_SPOT * len(position))))
    scaled = (position - position.min(axis=0)) / side
    reach = 1
    while True:
        cells = _settle(scaled, reach)
        if cells is not None:
            return _as_cells(cells - cells.min(axis=0))
        reach *= 2


def _settle(scaled: NDArray[np.float64], reach: int) -> NDArray[np.int64] | None:
    """Cells within `reach` of each spot, or None if some spot finds none free."""
    home = np.rint(scaled).astype(np.int64)
    steps = np.arange(-reach, reach + 1)
    offsets = np.array([(row, col) for row in steps for col in steps])
    offsets = offsets[np.argsort((offsets**2).sum(axis=1), kind="stable")]
    cells = np.full_like(home, np.iinfo(np.int64).min)
    width = int(home[:, 1].max()) + 2 * reach + 1
    taken = np.zeros(0, dtype=np.int64)
    waiting = np.arange(len(home))
    for offset in offsets:
        wanted = home[waiting] + offset
        key = (wanted[:, 0] + reach) * width + wanted[:, 1] + reach
        distance = ((scaled[waiting] - wanted) ** 2).sum(axis=1)
        order = np.lexsort((waiting, distance, key))
        first = np.ones(len(order), dtype=bool)
        first[1:] = key[order][1:] != key[order][:-1]
        winner = order[first]
        winner = winner[~np.isin(key[winner], taken)]
        cells[waiting[winner]] = wanted[winner]
        taken = np.concatenate([taken, key[winner]])
        waiting = np.delete(waiting, winner)
        if not len(waiting):
            return cells
    return None


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

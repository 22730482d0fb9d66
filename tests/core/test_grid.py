"""Lattices, windows and nearest spots, by hand and against a plain search."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from stalign_core.errors import InputDataError
from stalign_core.grid import lattice_positions, nearest_spots, pack_lattice, window_neighbors


def _plain_windows(lattice: np.ndarray, window: int) -> np.ndarray:
    at = {(int(row), int(col)): spot for spot, (row, col) in enumerate(lattice)}
    half = window // 2
    steps = [(i, j) for i in range(-half, half + 1) for j in range(-half, half + 1)]
    return np.array([[at.get((int(row) + i, int(col) + j), -1) for i, j in steps] for row, col in lattice])


def test_hexagonal_columns_are_halved_and_fill_the_lattice():
    # Rows 0 and 1 of a Visium array: columns 0, 2, 4 and 1, 3, 5.
    packed = pack_lattice([0, 0, 0, 1, 1, 1], [0, 2, 4, 1, 3, 5], "hexagonal")
    assert packed.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_hexagonal_packing_of_the_other_parity_displaces_odd_rows_to_the_right_too():
    packed = pack_lattice([0, 0, 1, 1], [1, 3, 0, 2], "hexagonal")
    positions = lattice_positions(packed, "hexagonal")
    # Column 1 of row 0 lies half a cell right of column 0 of row 1, and half a cell left of its column 2.
    assert positions[0, 0] - positions[2, 0] == 0.5
    assert positions[3, 0] - positions[0, 0] == 0.5


def test_hexagonal_packing_starts_at_an_even_row_so_that_displaced_rows_stay_displaced():
    full = pack_lattice([0, 1, 1, 2], [2, 1, 3, 2], "hexagonal")
    cut = pack_lattice([1, 1, 2], [1, 3, 2], "hexagonal")
    assert np.array_equal(
        np.diff(lattice_positions(full, "hexagonal")[1:], axis=0), np.diff(lattice_positions(cut, "hexagonal"), axis=0)
    )


def test_positions_of_a_hexagonal_lattice_have_six_neighbours_at_distance_one():
    row, col = np.divmod(np.arange(49), 7)
    packed = pack_lattice(row, 2 * col + row % 2, "hexagonal")
    middle = int(np.flatnonzero((row == 3) & (col == 3))[0])
    distance = np.sort(cdist(lattice_positions(packed, "hexagonal"), lattice_positions(packed, "hexagonal"))[middle])
    assert distance[1:7] == pytest.approx(1)
    assert distance[7] == pytest.approx(np.sqrt(3))


def test_mixed_parity_is_refused():
    with pytest.raises(InputDataError, match="both even and odd"):
        pack_lattice([0, 0], [0, 1], "hexagonal")


def test_two_spots_in_one_place_are_refused():
    with pytest.raises(InputDataError, match="two spots in one cell"):
        pack_lattice([3, 3], [4, 4], "square")


def test_a_missing_position_is_refused():
    with pytest.raises(InputDataError, match="not finite"):
        pack_lattice([0, np.nan], [0, 1], "square")


def test_square_lattice_starts_at_zero():
    assert pack_lattice([7, 9], [3, 4], "square").tolist() == [[0, 0], [2, 1]]


def _shuffled(points: np.ndarray) -> np.ndarray:
    return points[np.random.default_rng(0).permutation(len(points))]


def test_irregular_spots_of_uneven_spacing_keep_their_rows_and_columns():
    # Four rows and four columns, tenfold denser at one end: halving at medians counts them out.
    steps = np.array([0.0, 1.0, 10.0, 30.0])
    points = _shuffled(np.array([(y, x) for y in steps for x in steps]))
    expected = np.searchsorted(steps, points)
    assert np.array_equal(pack_lattice(points[:, 0], points[:, 1], "irregular"), expected)


def test_irregular_spots_on_a_line_stand_in_their_order():
    place = _shuffled(np.array([0.0, 1.0, 2.0, 50.0, 1000.0]))
    rank = np.searchsorted([0, 1, 2, 50, 1000], place)
    assert np.array_equal(pack_lattice(np.zeros(5), place, "irregular"), np.column_stack([np.zeros(5), rank]))
    assert np.array_equal(pack_lattice(place, np.zeros(5), "irregular"), np.column_stack([rank, np.zeros(5)]))


def test_one_irregular_spot_has_the_first_cell():
    assert pack_lattice([5.5], [-3.0], "irregular").tolist() == [[0, 0]]


def test_irregular_spots_in_one_place_get_a_cell_each():
    packed = pack_lattice(np.zeros(9), np.zeros(9), "irregular")
    assert sorted(packed.tolist()) == [[row, column] for row in range(3) for column in range(3)]
    points = np.repeat(np.random.default_rng(0).uniform(size=(100, 2)), 3, axis=0)
    assert len(np.unique(pack_lattice(points[:, 0], points[:, 1], "irregular"), axis=0)) == 300


def test_irregular_cells_do_not_depend_on_the_order_of_the_spots():
    points = np.random.default_rng(0).normal(size=(500, 2))
    order = np.random.default_rng(1).permutation(500)
    packed = pack_lattice(points[:, 0], points[:, 1], "irregular")
    assert np.array_equal(pack_lattice(points[order, 0], points[order, 1], "irregular"), packed[order])


def test_two_pieces_of_tissue_do_not_become_neighbours():
    piece = np.array([(y, x) for y in range(10) for x in range(10)], dtype=float)
    points = np.concatenate([piece, piece + np.array([0, 30])])
    neighbors = window_neighbors(pack_lattice(points[:, 0], points[:, 1], "irregular"), 7)
    assert not (neighbors[:100] >= 100).any()
    assert neighbors[100:].max() >= 100
    assert not ((neighbors[100:] >= 0) & (neighbors[100:] < 100)).any()


def _clustered(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.uniform(0.1, 0.9, (20, 2))[rng.integers(0, 20, n // 2)]
    return np.concatenate([centers + rng.normal(0, 0.015, (n // 2, 2)), rng.uniform(size=(n - n // 2, 2))])


def test_windows_of_irregular_spots_hold_the_nearest_ones_where_density_is_uneven():
    points = _clustered(2000)
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    packed = pack_lattice(points[:, 0], points[:, 1], "irregular")
    for window, least in ((3, 0.5), (5, 0.55)):
        truly = np.argsort(distance, axis=1)[:, : window**2 - 1]
        neighbors = window_neighbors(packed, window)
        share = (truly[:, :, None] == neighbors[:, None, :]).any(axis=2).mean()
        assert share > least
        assert (neighbors >= 0).mean() > 0.9


@pytest.mark.slow
def test_a_million_irregular_spots_take_seconds_and_flat_memory():
    points = _clustered(1_000_000)
    tracemalloc.start()
    started = time.process_time()
    packed = pack_lattice(points[:, 0], points[:, 1], "irregular")
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 60
    assert peak / len(points) < 500
    assert len(np.unique(packed[:, 0].astype(np.int64) * 2**32 + packed[:, 1])) == len(points)


def test_window_of_a_filled_square_by_hand():
    lattice = np.array([[r, c] for r in range(3) for c in range(3)], dtype=np.int32)
    neighbors = window_neighbors(lattice, 3)
    assert neighbors[4].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert neighbors[0].tolist() == [-1, -1, -1, -1, 0, 1, -1, 3, 4]


def test_window_one_is_the_spot_itself():
    lattice = np.array([[0, 0], [0, 1], [5, 5]], dtype=np.int32)
    assert window_neighbors(lattice, 1).tolist() == [[0], [1], [2]]


def test_the_end_of_a_row_is_no_neighbour_of_the_next_rows_start():
    lattice = np.array([[0, 2], [1, 0]], dtype=np.int32)
    assert (window_neighbors(lattice, 3) >= 0).sum() == 2


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
def test_windows_of_a_ragged_lattice_equal_a_plain_search(window):
    rng = np.random.default_rng(window)
    cells = rng.choice(15 * 11, size=90, replace=False)
    lattice = np.column_stack(np.divmod(cells, 11)).astype(np.int32)
    assert np.array_equal(window_neighbors(lattice, window), _plain_windows(lattice, window))


def test_no_spots_give_no_windows():
    assert window_neighbors(np.zeros((0, 2), dtype=np.int32), 5).shape == (0, 25)


def test_nearest_spots_equal_a_plain_search_and_leave_out_the_spot():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(60, 2))
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    assert np.array_equal(nearest_spots(points, 6), np.argsort(distance, axis=1)[:, :6])


def test_equally_near_spots_are_ordered_by_index():
    square = np.array([[1, 0], [0, 0], [0, 1], [-1, 0], [0, -1]], dtype=float)
    assert nearest_spots(square, 3)[1].tolist() == [0, 2, 3]


def test_fewer_spots_than_asked_for_leave_places_empty():
    assert nearest_spots([[0, 0], [1, 0]], 3).tolist() == [[1, -1, -1], [0, -1, -1]]
    assert nearest_spots([[0, 0]], 2).tolist() == [[-1, -1]]


def test_spots_in_one_place_do_not_name_themselves():
    assert nearest_spots([[0, 0], [0, 0], [0, 0]], 2).tolist() == [[1, 2], [0, 2], [0, 1]]

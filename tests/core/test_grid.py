"""Lattices, windows and nearest spots, by hand and against a plain search."""

from __future__ import annotations

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


def test_irregular_spots_get_one_cell_each_near_their_place():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, size=(400, 2))
    packed = pack_lattice(points[:, 0], points[:, 1], "irregular")
    assert len(np.unique(packed, axis=0)) == 400
    side = np.sqrt(np.ptp(points[:, 0]) * np.ptp(points[:, 1]) / 800)
    expected = (points - points.min(axis=0)) / side
    assert np.abs(packed - expected - (packed - expected).mean(axis=0)).max() < 3


def test_irregular_spots_on_a_line_or_in_one_point_get_one_cell_each():
    line = pack_lattice(np.zeros(5), np.arange(5.0), "irregular")
    point = pack_lattice(np.zeros(5), np.zeros(5), "irregular")
    assert len(np.unique(line, axis=0)) == len(np.unique(point, axis=0)) == 5


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

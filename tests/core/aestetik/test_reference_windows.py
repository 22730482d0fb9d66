"""Windows of the reference preset: over array positions, empty cells filled with the window's medians."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stalign_core.aestetik import AestetikSettings
from stalign_core.aestetik.inputs import check_input
from stalign_core.aestetik.reference.scaling import fit_range, range_channels
from stalign_core.aestetik.reference.views import UNKNOWN, WindowViews, array_cells, window_medians
from stalign_core.errors import ModelError
from stalign_core.grid import pack_lattice


def _views(expression, lattice, *, sample=None, hexagonal=False, window=3, morphology=None, has_morphology=None):
    """Views whose expression is kept as it is: the scaling is that of values from 0 to 1."""
    n_spots = len(expression)
    given = check_input(
        np.reshape(expression, (n_spots, -1)),
        np.zeros((n_spots, 0)) if morphology is None else np.reshape(morphology, (n_spots, -1)),
        lattice,
        np.zeros(n_spots, int) if sample is None else sample,
        has_morphology,
        np.full(n_spots, hexagonal),
    )
    scaling = fit_range(given)
    scaling.origin[:], scaling.unit[:] = 0, 1
    return WindowViews.of(given, scaling, AestetikSettings.reference(window=window))


def _window(views, spot):
    """One window of the first channel as nested lists."""
    return views.windows(torch.tensor([spot]))[0, 0].tolist()


@pytest.mark.parametrize("parity", [0, 1])
def test_unpacking_undoes_the_packing_of_a_hexagonal_array_but_for_a_shift(parity):
    row, column = np.divmod(np.arange(48), 8)
    keep = (row + column) % 2 == parity
    array = np.column_stack([row, column])[keep] + [3, 10]
    packed = pack_lattice(array[:, 0], array[:, 1], "hexagonal")
    unpacked = array_cells(packed, np.ones(len(array), bool))
    assert (unpacked - unpacked[0] == array - array[0]).all()


def test_square_cells_are_array_positions_already():
    cells = np.array([[0, 3], [1, 1]], np.int32)
    assert array_cells(cells, np.zeros(2, bool)).tolist() == [[0, 3], [1, 1]]


def test_a_hexagonal_window_by_hand():
    # The five of a die on the array: rows 0 to 2, columns 0 to 2. Around the middle only the corners are filled.
    array = np.array([[0, 0], [0, 2], [1, 1], [2, 0], [2, 2]])
    packed = pack_lattice(array[:, 0], array[:, 1], "hexagonal")
    views = _views([0.1, 0.2, 0.9, 0.4, 0.3], packed, hexagonal=True)
    median = 0.3
    expected = [[0.1, median, 0.2], [median, 0.9, median], [0.4, median, 0.3]]
    assert np.allclose(_window(views, 2), expected)


def test_the_same_packed_cells_read_as_square_are_all_neighbours():
    array = np.array([[0, 0], [0, 2], [1, 1], [2, 0], [2, 2]])
    packed = pack_lattice(array[:, 0], array[:, 1], "hexagonal")
    views = _views([0.1, 0.2, 0.9, 0.4, 0.3], packed, hexagonal=False)
    # Packed columns are 0, 1, 0, 0, 1: left of the middle spot nothing, right of it nothing, above and below two.
    assert np.allclose(_window(views, 2), [[0.3, 0.1, 0.2], [0.3, 0.9, 0.3], [0.3, 0.4, 0.3]])


def test_a_square_window_by_hand():
    row, column = np.divmod(np.arange(9), 3)
    views = _views(np.arange(9) / 10, np.column_stack([row, column]))
    assert np.allclose(_window(views, 4), np.arange(9).reshape(3, 3) / 10)


def test_a_corner_is_filled_with_the_mean_of_the_two_middle_values():
    row, column = np.divmod(np.arange(9), 3)
    views = _views(np.arange(9) / 10, np.column_stack([row, column]))
    # Spots 0, 1, 3, 4 are there: the median of 0, .1, .3, .4 is .2.
    assert np.allclose(_window(views, 0), [[0.2, 0.2, 0.2], [0.2, 0.0, 0.1], [0.2, 0.3, 0.4]])


def test_a_ragged_edge_by_hand():
    # A hole right of spot 0 and nothing around spot 2 within reach.
    views = _views([0.2, 0.8, 0.5], np.array([[0, 0], [1, 1], [5, 5]]))
    assert np.allclose(_window(views, 0), [[0.5] * 3, [0.5, 0.2, 0.5], [0.5, 0.5, 0.8]])
    assert np.allclose(_window(views, 2), np.full((3, 3), 0.5))


def test_windows_never_hold_another_sample():
    lattice = np.array([[0, 0], [0, 1], [0, 0], [0, 1]])
    views = _views([0.1, 0.3, 0.7, 0.9], lattice, sample=[0, 0, 1, 1])
    assert set(np.unique(np.round(_window(views, 0), 6))) == {0.1, 0.2, 0.3}
    assert set(np.unique(np.round(_window(views, 2), 6))) == {0.7, 0.8, 0.9}


def test_window_one_is_the_spot_itself():
    views = _views([0.1, 0.3], np.array([[0, 0], [0, 1]]), window=1)
    assert views.windows(torch.tensor([1, 0])).flatten().tolist() == pytest.approx([0.3, 0.1])


@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_windows_equal_a_plain_search_with_numpys_median(window):
    rng = np.random.default_rng(window)
    cells = np.column_stack(np.divmod(rng.choice(99, size=45, replace=False), 11))
    sample = rng.integers(2, size=45)
    expression = rng.random((45, 3)).astype(np.float32)
    half = window // 2
    views = _views(expression, cells, sample=sample, window=window)
    got = views.windows(torch.arange(45)).numpy()
    for spot in range(45):
        plain = np.full((window, window, 3), np.nan)
        for other in np.flatnonzero(sample == sample[spot]):
            i, j = cells[other] - cells[spot] + half
            if 0 <= i < window and 0 <= j < window:
                plain[i, j] = expression[other]
        plain = np.where(np.isnan(plain), np.nanmedian(plain, axis=(0, 1)), plain)
        assert np.allclose(got[spot], plain.transpose(2, 0, 1), atol=1e-6)


def test_missing_morphology_is_filled_like_an_empty_cell():
    lattice = np.array([[0, 0], [0, 1], [0, 2]])
    given = {"morphology": [0.2, 9.0, 0.6], "has_morphology": [True, False, True]}
    views = _views([0.1, 0.2, 0.3], lattice, **given)
    middle = views.windows(torch.tensor([1]))[0, 1]
    assert np.allclose(middle, [[0.4] * 3, [0.2, 0.4, 0.6], [0.4] * 3])


def test_a_window_without_any_morphology_holds_the_middle_of_the_range():
    views = _views([0.1], np.array([[0, 0]]), morphology=[0.9], has_morphology=[False])
    assert (views.windows(torch.tensor([0]))[0, 1] == UNKNOWN).all()


def test_medians_by_hand():
    nan = float("nan")
    values = torch.tensor(
        [[[5.0, nan], [1.0, nan], [nan, 7.0], [2.0, nan]], [[nan, nan], [nan, 3.0], [nan, 1.0], [nan, nan]]]
    )
    assert window_medians(values).tolist() == [[2.0, 7.0], [UNKNOWN, 2.0]]


def test_channels_reach_from_zero_to_one_over_the_fitted_spots():
    expression = np.array([[2.0, 7.0], [4.0, 7.0], [3.0, 7.0]])
    morphology = np.array([[10.0], [99.0], [30.0]])
    given = check_input(expression, morphology, [[0, 0], [0, 1], [1, 0]], np.zeros(3), [True, False, True])
    channels = range_channels(given, fit_range(given))
    assert channels[:, 0].tolist() == [0, 1, 0.5]
    assert channels[:, 1].tolist() == [0, 0, 0]
    assert channels[[0, 2], 2].tolist() == [0, 1]
    assert np.isnan(channels[1, 2])


def test_the_reference_preset_must_be_told_whether_cells_were_packed():
    given = check_input(np.zeros((2, 1)), np.zeros((2, 1)), [[0, 0], [0, 1]], np.zeros(2), None)
    with pytest.raises(ModelError, match="hexagonal: is not given"):
        WindowViews.of(given, fit_range(given), AestetikSettings.reference())


@pytest.mark.parametrize(("n_spots", "batch_size", "sizes"), [(10, 8192, [10]), (10, 4, [4, 3, 3]), (8, 4, [4, 4])])
def test_batches_name_every_spot_once_and_are_no_larger_than_asked_for(n_spots, batch_size, sizes):
    views = _views(np.zeros(n_spots), np.column_stack([np.zeros(n_spots), np.arange(n_spots)]))
    batches = list(views.batches(torch.arange(n_spots), batch_size, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == sizes
    assert torch.cat(batches).sort().values.tolist() == list(range(n_spots))
    part = torch.arange(1, n_spots, 2)
    batches = list(views.batches(part, batch_size, torch.Generator().manual_seed(0)))
    assert torch.cat(batches).sort().values.tolist() == part.tolist()
    assert max(len(batch) for batch in batches) <= batch_size

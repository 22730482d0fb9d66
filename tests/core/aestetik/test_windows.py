"""Each gather equals the plain formula over real windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stalign_core.aestetik.network import Encoder
from stalign_core.aestetik.windows import Batch, build_windows, make_batch, pooled_mean, window_mean
from stalign_core.errors import InputDataError


def _ragged(seed: int, n_spots: int = 40) -> np.ndarray:
    cells = np.random.default_rng(seed).choice(9 * 8, size=n_spots, replace=False)
    return np.column_stack(np.divmod(cells, 8)).astype(np.int32)


def _two_samples() -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(5).permutation(80)
    lattice = np.vstack([_ragged(0), _ragged(1)])[order]
    return lattice, np.repeat([0, 1], 40)[order]


def _plain_embedding(encoder: Encoder, channels: np.ndarray, lattice: np.ndarray, sample: np.ndarray, window: int):
    """Embeddings from a real window tensor per spot: convolution, then the mean over filled positions."""
    n_channels = channels.shape[1]
    kernel = min(3, window)
    half, reach = window // 2, kernel // 2
    weight = encoder.convolution.weight.view(-1, kernel, kernel, n_channels).permute(0, 3, 1, 2)
    rows = []
    for row, col, code in zip(lattice[:, 0], lattice[:, 1], sample, strict=True):
        image = torch.zeros(n_channels, window, window)
        filled = torch.zeros(window, window, dtype=torch.bool)
        for other in np.flatnonzero(sample == code):
            i, j = lattice[other] - (row, col) + half
            if 0 <= i < window and 0 <= j < window:
                image[:, i, j] = torch.from_numpy(channels[other])
                filled[i, j] = True
        hidden = nn.functional.conv2d(image[None], weight, encoder.convolution.bias)[0]
        flat = encoder.normalisation(hidden.flatten(1).T)
        centres = filled[reach : window - reach, reach : window - reach].flatten()
        rows.append(encoder.to_latent(flat.relu()[centres].mean(dim=0)))
    return torch.stack(rows)


def _encoder(window: int) -> Encoder:
    encoder = Encoder(3, min(3, window) ** 2, 7, 5, torch.Generator().manual_seed(0))
    encoder.normalisation.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    encoder.normalisation.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return encoder.eval()


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
def test_embeddings_equal_those_of_real_windows(window):
    lattice, sample = _two_samples()
    channels = np.random.default_rng(2).normal(size=(80, 3)).astype(np.float32)
    encoder = _encoder(window)
    table = build_windows(lattice, sample, window)
    padded = torch.from_numpy(np.vstack([channels, np.zeros((1, 3), np.float32)]))
    spots = torch.tensor([3, 70, 11, 42])
    got = encoder(padded, table, make_batch(table, spots))
    expected = _plain_embedding(encoder, channels, lattice, sample, window)[spots]
    assert torch.allclose(got, expected, atol=1e-5)


def test_gradients_equal_those_of_real_windows():
    lattice, sample = _two_samples()
    channels = np.random.default_rng(2).normal(size=(80, 3)).astype(np.float32)
    encoder = _encoder(5)
    table = build_windows(lattice, sample, 5)
    padded = torch.from_numpy(np.vstack([channels, np.zeros((1, 3), np.float32)]))
    encoder(padded, table, make_batch(table, torch.arange(80))).square().sum().backward()
    got = encoder.convolution.weight.grad.clone()
    encoder.zero_grad()
    _plain_embedding(encoder, channels, lattice, sample, 5).square().sum().backward()
    assert torch.allclose(got, encoder.convolution.weight.grad, rtol=1e-4, atol=1e-4)


def test_gradient_of_the_pooled_mean_agrees_with_finite_differences():
    lattice, sample = _two_samples()
    table = build_windows(lattice, sample, 5)
    batch = make_batch(table, torch.tensor([0, 5, 33, 71]))
    rows = torch.randn(len(batch.cells), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda values: pooled_mean(values, batch), rows)


def test_a_batch_convolves_each_cell_once():
    # A row of five spots, window 5: the pool is a spot and the one on either side.
    lattice = np.column_stack([np.zeros(5), np.arange(5)]).astype(np.int32)
    table = build_windows(lattice, np.zeros(5, np.int64), 5)
    batch = make_batch(table, torch.tensor([1, 2]))
    assert batch.cells.tolist() == [0, 1, 2, 3]
    assert sorted(batch.gather[0][batch.gather[0] < 4].tolist()) == [0, 1, 2]
    assert sorted(batch.scatter[1][batch.scatter[1] < 2].tolist()) == [0, 1]


def test_windows_never_hold_spots_of_another_sample():
    lattice, sample = _two_samples()
    table = build_windows(lattice, sample, 9)
    code = np.append(sample, -1)
    for places in (table.kernel, table.pool):
        seen = code[places.numpy()]
        assert ((seen == sample[:, None]) | (seen == -1)).all()


def test_two_spots_of_a_sample_in_one_cell_are_refused():
    with pytest.raises(InputDataError, match="two spots in one cell"):
        build_windows(np.zeros((2, 2), np.int32), np.zeros(2, np.int64), 3)


def test_window_mean_leaves_out_empty_cells():
    features = torch.tensor([[2.0], [4.0]])
    neighbors = torch.tensor([[0, 1], [1, 2]])
    assert window_mean(features, neighbors).tolist() == [[3.0], [4.0]]


def test_pooled_mean_by_hand():
    batch = Batch(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[0, 1, 2]]), torch.tensor([[0], [0]]))
    assert pooled_mean(torch.tensor([[1.0], [5.0]]), batch).tolist() == [[3.0]]

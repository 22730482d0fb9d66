"""The ensemble equals the published layers, in the published order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stalign_core.aestetik.reference import network
from stalign_core.aestetik.reference.network import (
    DROPOUT,
    Decoder,
    Encoder,
    EnsembleAutoencoder,
    kept_channels,
    median_of_three,
    pooled_side,
)

SIZES = {1: (1, 1, 1), 3: (2, 2, 1), 5: (3, 3, 1), 7: (3, 5, 1), 9: (3, 7, 2)}
"""By window: sides of the kernel, of the convolved window and of the pooled one, by hand."""


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _with_statistics(normalisation: nn.Module) -> nn.Module:
    """Running statistics and weights that are not those of a fresh layer."""
    for place, name in enumerate(("running_mean", "running_var", "weight", "bias")):
        getattr(normalisation, name).data.uniform_(0.5, 1.5, generator=_generator(place))
    return normalisation


def _plain_encoder(encoder: Encoder, window: int) -> nn.Sequential:
    side, _, pooled = SIZES[window]
    n_hidden, n_channels = encoder.convolution.shape[:2]
    convolution = nn.Conv2d(n_channels, n_hidden, side, bias=False)
    convolution.weight = encoder.convolution
    normalisation = nn.BatchNorm2d(n_hidden)
    normalisation.load_state_dict(encoder.normalisation.state_dict())
    linear = nn.Linear(n_hidden * pooled**2, len(encoder.bias))
    linear.weight, linear.bias = encoder.weight, encoder.bias
    return nn.Sequential(convolution, normalisation, nn.ReLU(), nn.MaxPool2d(side, stride=3), nn.Flatten(), linear)


@pytest.mark.parametrize("window", SIZES)
def test_an_encoder_equals_the_published_layers(window):
    encoder = Encoder(4, window, 6, 5, _generator())
    _with_statistics(encoder.normalisation)
    windows = torch.rand(7, 4, window, window, generator=_generator(1))
    encoder.eval()
    assert torch.allclose(encoder(windows), _plain_encoder(encoder, window).eval()(windows), atol=1e-6)


@pytest.mark.parametrize("window", SIZES)
def test_a_decoder_equals_the_published_layers(window):
    side, convolved, pooled = SIZES[window]
    decoder = Decoder(4, window, 6, 5, _generator())
    _with_statistics(decoder.normalisation)
    transposed = nn.ConvTranspose2d(6, 4, side, bias=False)
    transposed.weight = decoder.convolution
    linear = nn.Linear(5, 6 * pooled**2)
    linear.weight, linear.bias = decoder.weight, decoder.bias
    normalisation = nn.BatchNorm2d(4)
    normalisation.load_state_dict(decoder.normalisation.state_dict())
    plain = nn.Sequential(
        linear,
        nn.Unflatten(1, (6, pooled, pooled)),
        nn.ReLU(),
        nn.UpsamplingNearest2d(size=(convolved, convolved)),
        transposed,
        normalisation,
        nn.Flatten(2),
    )
    latent = torch.randn(7, 5, generator=_generator(1))
    assert torch.allclose(decoder.eval()(latent), plain.eval()(latent), atol=1e-5)


@pytest.mark.parametrize("window", [3, 9])
def test_gradients_of_a_decoder_equal_those_of_the_published_layers(window):
    _, convolved, pooled = SIZES[window]
    decoder = Decoder(4, window, 6, 5, _generator()).eval()
    latent = torch.randn(7, 5, generator=_generator(1))
    decoder(latent).square().sum().backward()
    kernel = decoder.convolution.detach().clone().requires_grad_(True)
    hidden = nn.functional.linear(latent, decoder.weight, decoder.bias).relu().view(7, 6, pooled, pooled)
    upsampled = nn.functional.interpolate(hidden, size=(convolved, convolved))
    normalised = decoder.normalisation(nn.functional.conv_transpose2d(upsampled, kernel).flatten(2))
    normalised.square().sum().backward()
    assert torch.allclose(decoder.convolution.grad, kernel.grad, rtol=1e-4, atol=1e-4)


def test_dropout_after_the_pooling_is_dropout_before_relu_and_pooling():
    encoder = Encoder(4, 5, 6, 5, _generator())
    windows = torch.rand(7, 4, 5, 5, generator=_generator(1))
    got = encoder(windows, _generator(2))
    hidden = encoder.normalisation(nn.functional.conv2d(windows, encoder.convolution))
    kept = (torch.rand(7, 6, generator=_generator(2)) >= DROPOUT) / (1 - DROPOUT)
    assert (kept == 0).any()
    pooled = nn.functional.max_pool2d((hidden * kept[:, :, None, None]).relu(), 3, 3)
    assert torch.allclose(got, nn.functional.linear(pooled.flatten(1), encoder.weight, encoder.bias), atol=1e-6)


def test_dropout_leaves_out_whole_channels_and_keeps_the_mean():
    factors = kept_channels(torch.zeros(2000, 8, 3, 3), _generator())
    assert factors.shape == (2000, 8, 1, 1)
    assert factors.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # The deviation of the mean of 16,000 draws is .0036 / .7.
    assert factors.mean().item() == pytest.approx(1, abs=0.03)


def test_the_embedding_is_the_median_of_the_encoders_element_by_element():
    model = EnsembleAutoencoder(4, 5, 6, 3, _generator()).eval()
    for encoder, bias in zip(model.encoders, ([1.0, 5.0, -1.0], [3.0, 0.0, -9.0], [2.0, 9.0, -4.0]), strict=True):
        encoder.weight.data.zero_()
        encoder.bias.data = torch.tensor(bias)
    assert model.encode(torch.rand(2, 4, 5, 5)).tolist() == [[2.0, 5.0, -4.0]] * 2


def test_the_decoded_window_is_the_median_of_the_decoders():
    model = EnsembleAutoencoder(2, 3, 6, 3, _generator()).eval()
    for decoder, bias in zip(model.decoders, ([0.0, 8.0], [1.0, -3.0], [-2.0, 1.0]), strict=True):
        decoder.convolution.data.zero_()
        decoder.normalisation.bias.data = torch.tensor(bias)
    _, decoded = model(torch.rand(1, 2, 3, 3), _generator())
    assert torch.allclose(decoded, torch.tensor([0.0, 1.0]).sigmoid()[None, :, None].expand(1, 2, 9))


def test_the_median_of_three_equals_torchs_with_its_gradient():
    values = torch.randn(3, 50, dtype=torch.float64, generator=_generator())
    values.requires_grad_(True)
    found = median_of_three(*values)
    assert torch.equal(found, values.median(dim=0).values)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert torch.equal(gradient, (values == found).double())


def test_the_start_follows_from_the_generator_alone():
    first, second, third = (EnsembleAutoencoder(4, 5, 6, 3, _generator(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["encoders.0.convolution"], third["encoders.0.convolution"])
    assert not torch.equal(first["encoders.0.convolution"], first["encoders.1.convolution"])


def test_the_start_has_the_spread_of_torchs_own():
    ours = Encoder(40, 5, 64, 16, _generator())
    theirs = nn.Conv2d(40, 64, 3)
    assert ours.convolution.abs().max().item() == pytest.approx(theirs.weight.abs().max().item(), rel=0.01)
    assert ours.convolution.std().item() == pytest.approx(theirs.weight.std().item(), rel=0.05)
    plain = nn.ConvTranspose2d(64, 40, 3)
    decoder = Decoder(40, 5, 64, 16, _generator())
    assert decoder.convolution.std().item() == pytest.approx(plain.weight.std().item(), rel=0.05)


def test_a_window_of_seven_pools_its_first_five_rows_and_columns():
    assert pooled_side(7) == 1
    encoder = Encoder(1, 7, 6, 3, _generator()).eval()
    windows = torch.rand(1, 1, 7, 7, generator=_generator(1))
    before = encoder(windows)
    outside, inside = windows.clone(), windows.clone()
    outside[:, :, 5:], outside[:, :, :, 5:], inside[:, :, 4, 4] = 9, 9, 9
    assert torch.equal(encoder(outside), before)
    assert not torch.allclose(encoder(inside), before)


def test_a_decoded_window_lies_between_zero_and_one():
    model = EnsembleAutoencoder(4, 5, 6, 3, _generator())
    latent, decoded = model(torch.rand(8, 4, 5, 5, generator=_generator(1)), _generator(2))
    assert latent.shape == (8, 3)
    assert decoded.shape == (8, 4, 25)
    assert ((decoded > 0) & (decoded < 1)).all()
    assert np.isfinite(latent.detach()).all()


def test_kernel_reaches_by_hand():
    # Window 3: a kernel of 2 over 2 x 2 equal cells. Kernel cell (0, 0) adds to cells 0, 1, 3, 4 of the window.
    spread = network.kernel_spread(3)
    assert spread.shape == (1, 2, 2, 9)
    assert spread[0, 0, 0].nonzero().flatten().tolist() == [0, 1, 3, 4]
    assert spread[0, 1, 1].nonzero().flatten().tolist() == [4, 5, 7, 8]

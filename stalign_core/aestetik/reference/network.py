"""The published autoencoder: an ensemble of three encoders and of three decoders, each joined by the median."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stalign_core.aestetik.settings import AestetikSettings

DROPOUT: Final = 0.3
"""Share of hidden channels left out in training."""
STRIDE: Final = 3
"""Step of the pooling, whatever its size."""
KERNEL: Final = 3


def kernel_side(window: int) -> int:
    """Side of convolution and pooling: 3, or smaller than the window, but for a window of 1."""
    return KERNEL if window > KERNEL else max(1, window - 1)


def convolved_side(window: int) -> int:
    """Side of a window after the convolution."""
    return window - kernel_side(window) + 1


def pooled_side(window: int) -> int:
    """Side after pooling: 1 up to window 7, where the last two rows and columns are not pooled; 2 at window 9."""
    return (convolved_side(window) - kernel_side(window)) // STRIDE + 1


class Encoder(nn.Module):
    """Convolution, normalisation, dropout, ReLU, maximum over the window, linear map to the embedding.

    Dropout and ReLU stand after the pooling here: they keep the order of a channel's values, so that the result is
    the same and there are fewer values to treat. The convolution has no bias: normalisation takes it away.
    """

    def __init__(self, n_channels: int, window: int, n_hidden: int, n_latent: int, generator: Generator) -> None:
        super().__init__()
        self.side = kernel_side(window)
        self.convolution = _uniform((n_hidden, n_channels, self.side, self.side), n_channels * self.side**2, generator)
        self.normalisation = nn.BatchNorm2d(n_hidden)
        n_pooled = n_hidden * pooled_side(window) ** 2
        self.weight = _uniform((n_latent, n_pooled), n_pooled, generator)
        self.bias = _uniform((n_latent,), n_pooled, generator)

    def forward(self, windows: Tensor, generator: Generator | None = None) -> Tensor:
        """Embeddings (b, n_latent) of windows (b, c, w, w); `generator` is asked in training alone."""
        hidden = self.normalisation(functional.conv2d(windows, self.convolution))
        pooled = functional.max_pool2d(hidden, self.side, STRIDE).relu()
        if self.training:
            pooled = pooled * kept_channels(pooled, generator)
        return functional.linear(pooled.flatten(1), self.weight, self.bias)


class Decoder(nn.Module):
    """Linear map, ReLU, upsampling, dropout, transposed convolution, normalisation; the sigmoid follows the median.

    Upsampling repeats a value over its cells, so that upsampling and transposed convolution together are one linear
    map of the hidden values, whose weights are sums of the kernel's. The bias is left out as in the encoder.
    """

    spread: Tensor

    def __init__(self, n_channels: int, window: int, n_hidden: int, n_latent: int, generator: Generator) -> None:
        super().__init__()
        side = kernel_side(window)
        self.n_hidden, n_small = n_hidden, n_hidden * pooled_side(window) ** 2
        self.weight = _uniform((n_small, n_latent), n_latent, generator)
        self.bias = _uniform((n_small,), n_latent, generator)
        self.convolution = _uniform((n_hidden, n_channels, side, side), n_channels * side**2, generator)
        self.normalisation = nn.BatchNorm1d(n_channels)
        self.register_buffer("spread", kernel_spread(window), persistent=False)

    def forward(self, latent: Tensor, generator: Generator | None = None) -> Tensor:
        """Decoded windows (b, c, w * w) before the sigmoid; `generator` is asked in training alone."""
        hidden = functional.linear(latent, self.weight, self.bias).relu().view(len(latent), self.n_hidden, -1)
        if self.training:
            hidden = hidden * kept_channels(hidden, generator)
        composite = torch.einsum("hcab,qabs->hqcs", self.convolution, self.spread)
        decoded = hidden.flatten(1) @ composite.flatten(0, 1).flatten(1)
        normalised: Tensor = self.normalisation(decoded.view(len(latent), *composite.shape[2:]))
        return normalised


class EnsembleAutoencoder(nn.Module):
    """Three encoders and three decoders; the embedding is the median of theirs, element by element."""

    def __init__(self, n_channels: int, window: int, n_hidden: int, n_latent: int, generator: Generator) -> None:
        super().__init__()
        sizes = (n_channels, window, n_hidden, n_latent, generator)
        self.encoders = nn.ModuleList(Encoder(*sizes) for _ in range(3))
        self.decoders = nn.ModuleList(Decoder(*sizes) for _ in range(3))

    @classmethod
    def of(cls, n_channels: int, settings: AestetikSettings, generator: Generator) -> EnsembleAutoencoder:
        """A fresh network."""
        return cls(n_channels, settings.window, settings.n_hidden, settings.n_latent, generator)

    def forward(self, windows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Embeddings (b, n_latent) of windows (b, c, w, w), and the windows decoded from them (b, c, w * w)."""
        latent = self.encode(windows, generator)
        # The sigmoid keeps order: it may as well follow the median.
        decoded = median_of_three(*(decoder(latent, generator) for decoder in self.decoders)).sigmoid()
        return latent, decoded

    def encode(self, windows: Tensor, generator: Generator | None = None) -> Tensor:
        """Embeddings (b, n_latent) of windows (b, c, w, w)."""
        return median_of_three(*(encoder(windows, generator) for encoder in self.encoders))


def median_of_three(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Median of each element."""
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return torch.maximum(low, torch.minimum(high, third))


def kept_channels(values: Tensor, generator: Generator | None) -> Tensor:
    """A factor per row and channel of `values`: 0 for those left out, 1 / (1 - `DROPOUT`) for the others."""
    kept = torch.rand(values.shape[:2], generator=generator, device=values.device) >= DROPOUT
    factors = (kept / (1 - DROPOUT)).to(values.device, values.dtype)
    return factors.view(*values.shape[:2], *[1] * (values.dim() - 2))


def kernel_spread(window: int) -> Tensor:
    """Which cell of a decoded window each kernel cell reaches from each pooled cell.

    Returns
    -------
    (q * q, k, k, w * w): how many of the upsampled cells that repeat pooled cell q lie such that kernel cell (a, b)
    adds to cell s of the window.
    """
    side, convolved, pooled = kernel_side(window), convolved_side(window), pooled_side(window)
    small = torch.eye(pooled**2).view(-1, 1, pooled, pooled)
    upsampled = functional.interpolate(small, size=(convolved, convolved), mode="nearest")
    kernels = torch.eye(side**2).view(1, side**2, side, side)
    return functional.conv_transpose2d(upsampled, kernels).view(pooled**2, side, side, window**2)


def _uniform(shape: tuple[int, ...], fan_in: int, generator: Generator) -> nn.Parameter:
    """torch's own start of linear maps and convolutions, from a generator: even within 1 / sqrt(fan_in) of zero."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

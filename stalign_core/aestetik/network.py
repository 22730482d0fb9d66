"""The convolutional autoencoder, as it acts on index tables."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.windows import KERNEL, Batch, WindowTable, pooled_mean


class SeededLinear(nn.Module):
    """A linear layer whose start follows from a generator, so that the global one is not touched."""

    def __init__(self, n_in: int, n_out: int, generator: Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)

    def forward(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.weight, self.bias)


class Encoder(nn.Module):
    """Convolution, normalisation, ReLU, mean over the window, linear map to the embedding.

    The convolution is a linear map of the concatenated channels of a cell's kernel; empty cells count as
    zero, the mean of a standardised channel.
    """

    def __init__(self, n_channels: int, kernel_cells: int, n_hidden: int, n_latent: int, generator: Generator) -> None:
        super().__init__()
        self.convolution = SeededLinear(kernel_cells * n_channels, n_hidden, generator)
        self.normalisation = nn.BatchNorm1d(n_hidden)
        self.to_latent = SeededLinear(n_hidden, n_latent, generator)

    def forward(self, channels: Tensor, table: WindowTable, batch: Batch) -> Tensor:
        """Embed the spots of `batch`: (b, n_latent).

        `channels` is (n + 1, n_channels); its last row is zero and stands for empty cells.
        """
        patches = channels[table.kernel[batch.cells]].flatten(1)
        hidden = functional.relu(self.normalisation(self.convolution(patches)))
        latent: Tensor = self.to_latent(pooled_mean(hidden, batch))
        return latent


class Decoder(nn.Module):
    """Linear, ReLU, linear: from an embedding to the mean channels of the spot's window."""

    def __init__(self, n_latent: int, n_hidden: int, n_channels: int, generator: Generator) -> None:
        super().__init__()
        self.from_latent = SeededLinear(n_latent, n_hidden, generator)
        self.to_channels = SeededLinear(n_hidden, n_channels, generator)

    def forward(self, latent: Tensor) -> Tensor:
        decoded: Tensor = self.to_channels(functional.relu(self.from_latent(latent)))
        return decoded


class Autoencoder(nn.Module):
    """Encoder and decoder together."""

    def __init__(self, n_channels: int, kernel_cells: int, n_hidden: int, n_latent: int, generator: Generator) -> None:
        super().__init__()
        self.encoder = Encoder(n_channels, kernel_cells, n_hidden, n_latent, generator)
        self.decoder = Decoder(n_latent, n_hidden, n_channels, generator)

    @classmethod
    def of(cls, n_channels: int, settings: AestetikSettings, generator: Generator) -> Autoencoder:
        """A fresh network."""
        kernel_cells = min(KERNEL, settings.window) ** 2
        return cls(n_channels, kernel_cells, settings.n_hidden, settings.n_latent, generator)

    def forward(self, channels: Tensor, table: WindowTable, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embeddings (b, n_latent) and what is decoded from them (b, n_channels)."""
        latent = self.encoder(channels, table, batch)
        return latent, self.decoder(latent)

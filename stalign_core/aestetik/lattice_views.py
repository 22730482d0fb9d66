"""The default preset's views: channels of single spots, and the index tables that windows are gathered by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Tensor

from stalign_core.aestetik.inputs import ModelInput, Scaling, scale_channels
from stalign_core.aestetik.settings import AestetikSettings, TripletLabels
from stalign_core.aestetik.windows import WindowTable, build_windows, make_batch, window_mean

TILE: Final = 8
"""Side, in cells, of the tiles that batches are made of: neighbours share a batch, so little is convolved twice."""


@dataclass(frozen=True)
class LatticeViews:
    """Views of n spots on their packed lattice.

    Attributes
    ----------
    channels
        (n + 1, c) standardised channels, expression first; the last row is zero and stands for empty cells.
    nearby
        (n, c) means over the kernel of each spot: what is reconstructed.
    table
        Windows of the spots.
    tiles
        (n, 3) sample code and packed row and column of each spot.
    """

    channels: Tensor
    nearby: Tensor
    table: WindowTable
    tiles: Tensor

    @classmethod
    def of(cls, given: ModelInput, scaling: Scaling, settings: AestetikSettings) -> LatticeViews:
        """Views of checked input, scaled as fitted.

        Raises
        ------
        InputDataError
            If two spots of a sample share a cell.
        """
        channels = torch.from_numpy(scale_channels(given, scaling))
        table = build_windows(given.lattice, given.sample, settings.window)
        return cls(
            channels=torch.cat([channels, torch.zeros(1, channels.shape[1])]),
            nearby=window_mean(channels, table.kernel),
            table=table,
            tiles=torch.from_numpy(np.column_stack([given.sample, given.lattice])),
        )

    @property
    def n_spots(self) -> int:
        """n."""
        return len(self.nearby)

    @property
    def embed_spots(self) -> int:
        """Spots embedded at a time."""
        return 65_536

    def to(self, device: torch.device) -> LatticeViews:
        """The same views on `device`."""
        return LatticeViews(
            self.channels.to(device), self.nearby.to(device), self.table.to(device), self.tiles.to(device)
        )

    def batches(self, among: Tensor, batch_size: int, generator: Generator) -> Iterator[Tensor]:
        """Random tiles of all samples."""
        for places in tile_batches(self.tiles[among], batch_size, generator):
            yield among[places]

    def reconstruct(self, network: Any, spots: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        """Embeddings (b, n_latent), decoded and true means of the kernels (b, c); there is no dropout."""
        latent, decoded = network(self.channels, self.table, make_batch(self.table, spots))
        return latent, decoded, self.nearby[spots]

    def embed(self, network: Any, spots: Tensor) -> Tensor:
        """Embeddings (b, n_latent) of `spots`."""
        latent: Tensor = network.encoder(self.channels, self.table, make_batch(self.table, spots))
        return latent

    def grouped(self, method: TripletLabels) -> Tensor:
        """Neighbourhood means for the mixture, single spots for K-Means: (n, c)."""
        return self.nearby if method == "tied" else self.channels[:-1]


def tile_batches(tiles: Tensor, batch_size: int, generator: Generator) -> Iterator[Tensor]:
    """Batches that name every spot once: random tiles of all samples, the tiling shifted at random.

    Parameters
    ----------
    tiles
        (n, 3) sample code, packed row and packed column.
    batch_size
        About how many spots a batch has; batches differ by at most one spot.
    generator
        Source of shift and order.
    """
    shift = torch.randint(TILE, (2,), generator=generator, device=tiles.device)
    cell = torch.cat([tiles[:, :1], (tiles[:, 1:] + shift) // TILE], dim=1)
    extent = cell.amax(dim=0) + 1
    key = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    names, tile = torch.unique(key, return_inverse=True)
    order = torch.argsort(torch.randperm(len(names), generator=generator, device=tiles.device)[tile], stable=True)
    n_batches = max(1, round(len(tiles) / batch_size))
    yield from order.tensor_split(n_batches)

"""The reference preset's views: a real window per spot over the array, its empty cells filled with its medians."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stalign_core.aestetik.inputs import ModelInput, Scaling
from stalign_core.aestetik.reference.scaling import range_channels
from stalign_core.aestetik.settings import AestetikSettings, TripletLabels
from stalign_core.aestetik.windows import sample_windows
from stalign_core.errors import ModelError

UNKNOWN: Final = 0.5
"""What stands where no cell of a window has a value: the middle of the scaled range."""
CHUNK: Final = 4096
"""Windows made at a time outside training, which bounds memory."""


def array_cells(lattice: NDArray[np.int32], hexagonal: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Array positions, but for a shift of each sample, of packed cells.

    Parameters
    ----------
    lattice
        (n, 2) packed (row, column).
    hexagonal
        (n,) bool, whether a cell was packed from a hexagonal array, whose columns were halved.

    Returns
    -------
    (n, 2) int32: column 2 * column + row % 2 where hexagonal, as it is elsewhere.
    """
    row, column = lattice[:, 0], lattice[:, 1]
    return np.column_stack([row, np.where(hexagonal, 2 * column + row % 2, column)]).astype(np.int32)


@dataclass(frozen=True)
class WindowViews:
    """Views of n spots on the array, where every second cell of a hexagonal one is empty.

    Attributes
    ----------
    channels
        (n + 1, c) channels between 0 and 1, expression first; NaN where missing, and in the last row, which
        stands for empty cells.
    neighbors
        (n, w * w) spots in each window, n for an empty cell.
    fill
        (n, c) median of each window: what its empty cells hold.
    """

    channels: Tensor
    neighbors: Tensor
    fill: Tensor

    @classmethod
    def of(cls, given: ModelInput, scaling: Scaling, settings: AestetikSettings) -> WindowViews:
        """Views of checked input, scaled as fitted.

        Raises
        ------
        ModelError
            If the input does not say which samples are hexagonal.
        InputDataError
            If two spots of a sample share a cell.
        """
        if given.hexagonal is None:
            raise ModelError(
                "hexagonal", "is not given", expected="True or False per spot for the reference preset's windows"
            )
        scaled = torch.from_numpy(range_channels(given, scaling))
        channels = torch.cat([scaled, torch.full((1, scaled.shape[1]), torch.nan)])
        cells = array_cells(given.lattice, given.hexagonal)
        neighbors = torch.from_numpy(sample_windows(cells, given.sample, settings.window))
        medians = [window_medians(channels[part]) for part in torch.split(neighbors, CHUNK)]
        return cls(channels, neighbors, torch.cat(medians) if medians else scaled)

    @property
    def n_spots(self) -> int:
        """n."""
        return len(self.fill)

    @property
    def embed_spots(self) -> int:
        """Spots embedded at a time."""
        return CHUNK

    def to(self, device: torch.device) -> WindowViews:
        """The same views on `device`."""
        return WindowViews(self.channels.to(device), self.neighbors.to(device), self.fill.to(device))

    def batches(self, among: Tensor, batch_size: int, generator: Generator) -> Iterator[Tensor]:
        """Random spots of all samples, in equal parts of at most `batch_size`."""
        order = torch.randperm(len(among), generator=generator, device=self.channels.device)
        yield from among[order].tensor_split(math.ceil(len(among) / batch_size))

    def windows(self, spots: Tensor) -> Tensor:
        """Filled windows of `spots`: (b, c, w, w)."""
        values = self.channels[self.neighbors[spots]]
        filled = torch.where(values.isnan(), self.fill[spots][:, None], values)
        side = math.isqrt(self.neighbors.shape[1])
        return filled.transpose(1, 2).reshape(len(spots), -1, side, side)

    def reconstruct(self, network: Any, spots: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (b, n_latent), decoded and true windows (b, c, w * w)."""
        windows = self.windows(spots)
        latent, decoded = network(windows, generator)
        return latent, decoded, windows.flatten(2)

    def embed(self, network: Any, spots: Tensor) -> Tensor:
        """Embeddings (b, n_latent) of `spots`."""
        latent: Tensor = network.encode(self.windows(spots))
        return latent

    def grouped(self, method: TripletLabels) -> Tensor:
        """Means of the windows for the mixture, single spots for K-Means: (n, c)."""
        if method == "kmeans":
            return self.channels[:-1]
        return torch.cat(
            [self.windows(spots).mean(dim=(2, 3)) for spots in torch.split(torch.arange(self.n_spots), CHUNK)]
        )


def window_medians(values: Tensor) -> Tensor:
    """Median per window and channel of the cells that have a value, `UNKNOWN` where none has.

    Parameters
    ----------
    values
        (b, cells, c), NaN where a cell has none.

    Returns
    -------
    (b, c); of an even number of cells the mean of the two in the middle.
    """
    count = (~values.isnan()).sum(dim=1, keepdim=True)
    ordered = values.sort(dim=1).values
    lower = ordered.gather(1, (count - 1).clamp(min=0) // 2)
    upper = ordered.gather(1, (count // 2).clamp(max=values.shape[1] - 1))
    medians = ((lower + upper) / 2).squeeze(1)
    return torch.where(count.squeeze(1) > 0, medians, UNKNOWN)

"""Windows over the lattice as index tables, and the gathers that stand in for convolutions over it.

A spot's window is convolved and pooled. Windows overlap, so the convolution at a cell is wanted by every
window that holds the cell: it is computed once, and gathered. Cost and memory follow the spots, not the
windows, and no lattice is ever filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stalign_core.errors import InputDataError
from stalign_core.grid import window_neighbors

KERNEL = 3
"""Side of the convolution; the paper's encoder has 3 x 3."""


@dataclass(frozen=True)
class WindowTable:
    """Which spots lie in each spot's kernel and in its pooling window.

    Attributes
    ----------
    kernel
        (n, k * k) int64 spots under the convolution centred on a spot; n stands for an empty cell.
    pool
        (n, p * p) int64 spots whose convolution a spot's embedding pools; n stands for an empty cell.
        k + p - 1 is the window. If j is in the pool of i, i is in the pool of j.
    """

    kernel: Tensor
    pool: Tensor

    @property
    def n_spots(self) -> int:
        """Rows of the tables."""
        return len(self.kernel)

    def to(self, device: torch.device) -> WindowTable:
        """The same tables on `device`."""
        return WindowTable(self.kernel.to(device), self.pool.to(device))


@dataclass(frozen=True)
class Batch:
    """The spots embedded in one step, and what must be convolved for them.

    Attributes
    ----------
    spots
        (b,) spots to embed.
    cells
        (c,) spots in the pools of `spots`, each once.
    gather
        (b, p * p) places in `cells` that each spot pools; c stands for an empty cell.
    scatter
        (c, p * p) places in `spots` that pool each cell; b stands for none. The transpose of `gather`.
    """

    spots: Tensor
    cells: Tensor
    gather: Tensor
    scatter: Tensor


def build_windows(lattice: NDArray[np.int32], sample: NDArray[np.int64], window: int) -> WindowTable:
    """Index tables of all samples' windows; no window reaches into another sample.

    Parameters
    ----------
    lattice
        (n, 2) packed (row, column), unique within a sample.
    sample
        (n,) sample of each spot, as integers.
    window
        Side of the window, odd.

    Raises
    ------
    InputDataError
        If two spots of a sample share a cell.
    """
    neighbors = sample_windows(lattice, sample, window)
    kernel = min(KERNEL, window)
    return WindowTable(
        torch.from_numpy(_middle(neighbors, window, kernel)),
        torch.from_numpy(_middle(neighbors, window, window - kernel + 1)),
    )


def sample_windows(lattice: NDArray[np.int32], sample: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Spots in the windows of all samples: (n, window * window) in row-major order, n for an empty cell.

    Parameters and errors are those of `build_windows`.
    """
    n_spots = len(lattice)
    neighbors = np.full((n_spots, window * window), n_spots, dtype=np.int64)
    codes, sizes = np.unique(sample, return_counts=True)
    for code, members in zip(codes, np.split(np.argsort(sample, kind="stable"), np.cumsum(sizes)[:-1]), strict=True):
        cells = lattice[members]
        if len(np.unique(cells, axis=0)) < len(cells):
            raise InputDataError(f"lattice of sample {code}", "has two spots in one cell", expected="one spot per cell")
        local = window_neighbors(cells, window)
        neighbors[members] = np.where(local >= 0, members[local], n_spots)
    return neighbors


def _middle(neighbors: NDArray[np.int64], window: int, side: int) -> NDArray[np.int64]:
    """Columns of the central `side` x `side` cells of a window's row-major columns."""
    margin = (window - side) // 2
    steps = np.arange(margin, margin + side)
    return np.ascontiguousarray(neighbors[:, (steps[:, None] * window + steps).ravel()])


def make_batch(table: WindowTable, spots: Tensor) -> Batch:
    """Plan the step that embeds `spots`, each of which must be named once."""
    pool = table.pool[spots]
    cells = torch.unique(pool)
    cells = cells[: len(cells) - int(cells[-1] == table.n_spots)]
    return Batch(
        spots,
        cells,
        _places(cells, table.n_spots)[pool],
        _places(spots, table.n_spots)[table.pool[cells]],
    )


def _places(members: Tensor, n_spots: int) -> Tensor:
    """(n + 1,) where each spot stands in `members`, len(members) for all others."""
    places = torch.full((n_spots + 1,), len(members), dtype=torch.int64, device=members.device)
    places[members] = torch.arange(len(members), device=members.device)
    return places


class _PooledMean(torch.autograd.Function):
    """Mean of gathered rows whose gradient is a gather too: no scattered addition, hence deterministic."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        share = 1 / (gather < len(rows)).sum(dim=1, keepdim=True).to(rows.dtype)
        ctx.save_for_backward(scatter, share)
        return sum_rows(rows, gather) * share

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        scatter, share = ctx.saved_tensors
        return sum_rows(gradients[0] * share, scatter), None, None


def sum_rows(rows: Tensor, places: Tensor) -> Tensor:
    """Sums of the rows at `places`, (b, d) from (c, d) and (b, m); a place of c adds nothing."""
    padded = functional.pad(rows, (0, 0, 0, 1))
    return functional.embedding_bag(places, padded, mode="sum", padding_idx=len(rows))


def pooled_mean(rows: Tensor, batch: Batch) -> Tensor:
    """Mean of `rows` (c, d) over each spot's pool, empty cells left out: (b, d)."""
    result: Tensor = _PooledMean.apply(rows, batch.gather, batch.scatter)
    return result


def window_mean(features: Tensor, neighbors: Tensor) -> Tensor:
    """Mean of `features` (n, d) over the filled cells of each spot's `neighbors` (n, m): (n, d)."""
    filled = (neighbors < len(features)).sum(dim=1, keepdim=True).to(features.dtype)
    return sum_rows(features, neighbors) / filled

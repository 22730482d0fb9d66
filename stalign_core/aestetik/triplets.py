"""Positives and negatives: which spots of a batch each anchor is compared with.

Every spot of a batch is encoded once, and partners are drawn within the batch. Batches are random over all
samples, so the expectation is that of partners drawn from all spots, at the cost of one encoding per spot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Triplets:
    """Comparisons of anchors with partners, as places in a batch.

    Attributes
    ----------
    positive, negative
        (b, m) places of the partners of each anchor; anchor i is place i.
    valid
        (b, m) whether both partners exist.
    """

    positive: Tensor
    negative: Tensor
    valid: Tensor


def draw_triplets(labels: Tensor, n_labels: int, generator: Generator, batch: Tensor | None = None) -> Triplets:
    """For each anchor and each other label, one negative of that label and one positive of its own.

    With `batch`, a positive is of another batch than the anchor, and a negative of the anchor's own, wherever there
    are such: what sets batches apart then neither holds alike spots apart nor tells unlike ones from each other.

    Parameters
    ----------
    labels
        (b,) labels from 0 to n_labels - 1; -1 marks spots that are neither anchors nor partners.
    n_labels
        K; each anchor gets K - 1 comparisons.
    generator
        Source of the draws, on the device of the labels.
    batch
        (b,) batch of each spot, from 0; None draws partners everywhere.

    Returns
    -------
    Triplets with m = n_labels - 1. A positive is never the anchor itself. A comparison is not valid where the
    batch lacks another spot of the anchor's label or any spot of the negative's.
    """
    others = torch.arange(n_labels - 1, device=labels.device)
    others = others + (others >= labels.clamp(min=0)[:, None])
    return _drawn(labels, others, n_labels, generator, batch)


def draw_single_triplets(labels: Tensor, n_labels: int, generator: Generator, batch: Tensor | None = None) -> Triplets:
    """For each anchor, one negative of one other label, drawn evenly, and one positive of its own.

    Parameters, and what is not valid, are those of `draw_triplets`; m = 1, or 0 where there is but one label.
    """
    n_comparisons = min(1, n_labels - 1)
    draws = torch.rand(len(labels), n_comparisons, generator=generator, device=labels.device)
    other = _scale(draws, torch.full_like(labels, n_labels - 1)[:, None])
    other = other + (other >= labels.clamp(min=0)[:, None])
    return _drawn(labels, other, n_labels, generator, batch)


def _drawn(labels: Tensor, others: Tensor, n_labels: int, generator: Generator, batch: Tensor | None) -> Triplets:
    """A negative of each of an anchor's `others` (b, m), and as many positives."""
    device = labels.device
    n_batches = 1 if batch is None else int(batch.max()) + 1
    own_batch = torch.zeros_like(labels) if batch is None else batch
    # Spots sorted by label, then batch: the spots of a label are one block, and those of it in one batch another.
    sorted_keys, order = torch.sort(labels * n_batches + own_batch, stable=True)
    edges = torch.searchsorted(sorted_keys, torch.arange(n_labels * n_batches + 1, device=device))
    in_batch = _Blocks(edges[:-1], edges.diff())
    anywhere = _Blocks(edges[:-1:n_batches], edges[::n_batches].diff())
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels), device=device)
    draws = torch.rand(2, *others.shape, generator=generator, device=device)

    own = labels.clamp(min=0)[:, None]
    cell = own * n_batches + own_batch[:, None]
    place = _positive_places(draws[0], rank[:, None], anywhere.at(own), in_batch.at(cell))
    positive = order[place.clamp(0, len(labels) - 1)]

    cell = others * n_batches + own_batch[:, None]
    near, far = in_batch.at(cell), anywhere.at(others)
    first, count = (torch.where(near.size > 0, one, other) for one, other in zip(near, far, strict=True))
    negative = order[(first + _scale(draws[1], count)).clamp(max=len(labels) - 1)]

    valid = (labels[:, None] >= 0) & (anywhere.size[own] > 1) & (far.size > 0)
    return Triplets(positive, negative, valid)


class _Blocks(NamedTuple):
    """Runs of sorted spots: where each begins, and how many spots it has."""

    first: Tensor
    size: Tensor

    def at(self, which: Tensor) -> _Blocks:
        return _Blocks(self.first[which], self.size[which])


def _positive_places(draws: Tensor, rank: Tensor, label: _Blocks, cell: _Blocks) -> Tensor:
    """Sorted places of spots of the anchor's label: outside its batch if it has any there, else of all but itself."""
    n_outside = label.size - cell.size
    place = label.first + _scale(draws, n_outside)
    outside = torch.where(place >= cell.first, place + cell.size, place)
    # A step from the anchor's own place around the ring of its label never comes back to it.
    step = 1 + _scale(draws, label.size - 1)
    around = label.first + (rank - label.first + step) % label.size.clamp(min=1)
    return torch.where(n_outside > 0, outside, around)


def _scale(draws: Tensor, count: Tensor) -> Tensor:
    """Uniform draws from [0, 1) as whole numbers from 0 to count - 1 (0 where count is 0)."""
    return torch.minimum((draws * count).long(), (count - 1).clamp(min=0))

"""Positives and negatives: which spots of a batch each anchor is compared with.

Every spot of a batch is encoded once, and partners are drawn within the batch. Batches are random over all
samples, so the expectation is that of partners drawn from all spots, at the cost of one encoding per spot.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def draw_triplets(labels: Tensor, n_labels: int, generator: Generator) -> Triplets:
    """For each anchor and each other label, one negative of that label and one positive of its own.

    Parameters
    ----------
    labels
        (b,) labels from 0 to n_labels - 1; -1 marks spots that are neither anchors nor partners.
    n_labels
        K; each anchor gets K - 1 comparisons.
    generator
        Source of the draws, on the device of the labels.

    Returns
    -------
    Triplets with m = n_labels - 1. A positive is never the anchor itself. A comparison is not valid where the
    batch lacks another spot of the anchor's label or any spot of the negative's.
    """
    others = torch.arange(n_labels - 1, device=labels.device)
    others = others + (others >= labels.clamp(min=0)[:, None])
    return _drawn(labels, others, n_labels, generator)


def draw_single_triplets(labels: Tensor, n_labels: int, generator: Generator) -> Triplets:
    """For each anchor, one negative of one other label, drawn evenly, and one positive of its own.

    Parameters, and what is not valid, are those of `draw_triplets`; m = 1, or 0 where there is but one label.
    """
    n_comparisons = min(1, n_labels - 1)
    draws = torch.rand(len(labels), n_comparisons, generator=generator, device=labels.device)
    other = _scale(draws, torch.full_like(labels, n_labels - 1)[:, None])
    other = other + (other >= labels.clamp(min=0)[:, None])
    return _drawn(labels, other, n_labels, generator)


def _drawn(labels: Tensor, others: Tensor, n_labels: int, generator: Generator) -> Triplets:
    """A negative of each of an anchor's `others` (b, m), and as many positives."""
    device = labels.device
    n_spots = len(labels)
    sorted_labels, order = torch.sort(labels, stable=True)
    edges = torch.searchsorted(sorted_labels, torch.arange(n_labels + 1, device=device))
    first, count = edges[:-1], edges.diff()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n_spots, device=device)
    draws = torch.rand(2, *others.shape, generator=generator, device=device)

    own = labels.clamp(min=0)[:, None]
    n_alike = count[own] - 1
    step = 1 + _scale(draws[0], n_alike)
    # A step from the anchor's own place around the ring of its label never comes back to it.
    place = first[own] + (rank[:, None] - first[own] + step) % count[own].clamp(min=1)
    positive = order[place.clamp(0, n_spots - 1)]

    place = first[others] + _scale(draws[1], count[others])
    negative = order[place.clamp(max=n_spots - 1)]

    valid = (labels[:, None] >= 0) & (n_alike > 0) & (count[others] > 0)
    return Triplets(positive, negative, valid)


def _scale(draws: Tensor, count: Tensor) -> Tensor:
    """Uniform draws from [0, 1) as whole numbers from 0 to count - 1 (0 where count is 0)."""
    return torch.minimum((draws * count).long(), (count - 1).clamp(min=0))

"""The terms of the loss: reconstruction and triplets, per modality, weighted as in the paper's equation 5.

Every term is a sum over a batch divided by the size of the batch, whether or not all of it takes part: where few
spots have an image, morphology weighs as little as it is known, and their embeddings are not torn off the rest.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stalign_core.aestetik.triplets import Triplets

MARGIN = 1.0
"""How much farther a negative should be than a positive, in units of the embedding."""
SMALLEST_SQUARE = 1e-12
"""Keeps the gradient of a distance finite where two embeddings coincide."""


def reconstruction_loss(decoded: Tensor, target: Tensor, present: Tensor, kind: Literal["l1", "mse"]) -> Tensor:
    """Absolute or squared error of the spots that have the modality, as a mean over all spots of the batch.

    Parameters
    ----------
    decoded, target
        (b, d), or (b, channels, cells).
    present
        (b,) bool; spots without the modality count as zero.
    kind
        ``"l1"`` or ``"mse"``.
    """
    error = decoded - target
    error = error.abs() if kind == "l1" else error.square()
    return (error.flatten(1).mean(dim=1) * present.to(error.dtype)).mean()


def triplet_loss(latent: Tensor, triplets: Triplets, margin: float = MARGIN) -> Tensor:
    """Mean over comparisons of max(0, |anchor - positive| - |anchor - negative| + margin).

    Comparisons that are not valid count as zero; without any comparison the loss is zero.
    """
    to_positive = _distances(latent, triplets.positive)
    to_negative = _distances(latent, triplets.negative)
    hinge = torch.relu(to_positive - to_negative + margin)
    return (hinge * triplets.valid.to(hinge.dtype)).sum() / max(hinge.numel(), 1)


def _distances(latent: Tensor, partners: Tensor) -> Tensor:
    """Euclidean distances of each row to its partners, (b, m)."""
    n_spots, n_partners = partners.shape
    difference = latent[:, None] - latent.index_select(0, partners.flatten()).view(n_spots, n_partners, latent.shape[1])
    return difference.square().sum(dim=2).clamp(min=SMALLEST_SQUARE).sqrt()


def weighted_total(
    morphology_weight: float, expression_terms: tuple[Tensor, Tensor], morphology_terms: tuple[Tensor, Tensor]
) -> Tensor:
    """alpha (rec_m + triplet_m) + (3 - alpha) (rec_t + triplet_t), alpha being the morphology weight."""
    expression = expression_terms[0] + expression_terms[1]
    morphology = morphology_terms[0] + morphology_terms[1]
    return morphology_weight * morphology + (3 - morphology_weight) * expression

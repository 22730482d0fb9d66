"""The training loop: batches, optimiser, checkpoints. Lightning Fabric places it on devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from stalign_core.aestetik.checkpoint import read_checkpoint, write_checkpoint
from stalign_core.aestetik.loss import reconstruction_loss, triplet_loss, weighted_total
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.triplets import draw_single_triplets, draw_triplets
from stalign_core.aestetik.views import Views
from stalign_core.progress import Progress

TERMS = ("expression_reconstruction", "expression_triplet", "morphology_reconstruction", "morphology_triplet")
WEIGHT_DECAY = 1e-6


@dataclass(frozen=True)
class TrainingData:
    """Everything a step reads.

    Attributes
    ----------
    views
        What the network sees of the n spots.
    n_expression
        How many of the channels are expression.
    expression_labels, morphology_labels
        (n,) groups that triplets are drawn from; -1 where the modality is missing.
    n_labels
        How many groups there are.
    has_morphology
        (n,) bool.
    """

    views: Views
    n_expression: int
    expression_labels: Tensor
    morphology_labels: Tensor
    n_labels: int
    has_morphology: Tensor

    def to(self, device: torch.device) -> TrainingData:
        """The same data on `device`."""
        return TrainingData(
            self.views.to(device),
            self.n_expression,
            self.expression_labels.to(device),
            self.morphology_labels.to(device),
            self.n_labels,
            self.has_morphology.to(device),
        )


@dataclass
class History:
    """Mean loss terms of each epoch so far."""

    epochs: list[dict[str, float]] = field(default_factory=list)


def training_step(
    model: Any, data: TrainingData, spots: Tensor, settings: AestetikSettings, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The loss of one batch, and its four terms, in the order of `TERMS`."""
    latent, decoded, target = data.views.reconstruct(model, spots, generator)
    draw = draw_triplets if settings.multi_triplet else draw_single_triplets
    split = data.n_expression
    everywhere = torch.ones_like(spots, dtype=torch.bool)
    terms = []
    for part, present, labels, wanted in (
        (slice(split), everywhere, data.expression_labels, settings.morphology_weight < 3),
        (slice(split, None), data.has_morphology[spots], data.morphology_labels, settings.morphology_weight > 0),
    ):
        if not wanted:
            terms += [latent.new_zeros(()), latent.new_zeros(())]
            continue
        terms.append(reconstruction_loss(decoded[:, part], target[:, part], present, settings.reconstruction))
        terms.append(triplet_loss(latent, draw(labels[spots], data.n_labels, generator)))
    loss = weighted_total(settings.morphology_weight, (terms[0], terms[1]), (terms[2], terms[3]))
    return loss, torch.stack(terms).detach()


def train(
    model: nn.Module,
    data: TrainingData,
    settings: AestetikSettings,
    generator: Generator,
    progress: Progress,
    checkpoint: Path | None,
    identity: str,
) -> History:
    """Train `model` in place; leaves it on the CPU, in evaluation mode.

    Parameters
    ----------
    model
        Fresh network.
    data
        Training data, on the CPU.
    settings
        The model's settings.
    generator
        Source of batches, dropout and triplets, on the CPU.
    progress
        Told the loss terms after each epoch.
    checkpoint
        File that holds the state after the last finished epoch, or None. A file of another `identity` is
        ignored and replaced.
    identity
        Hash of everything the training follows from.
    """
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, amsgrad=True)
    wrapped, wrapped_optimiser = fabric.setup(model, optimiser)
    history = History()
    if checkpoint is not None:
        read_checkpoint(checkpoint, identity, model, optimiser, generator, history.epochs)
    placed = data.to(fabric.device)
    wrapped.train()
    for epoch in range(len(history.epochs), settings.epochs):
        totals = torch.zeros(len(TERMS), device=fabric.device)
        n_batches = 0
        for spots in data.views.batches(settings.batch_size, generator):
            loss, terms = training_step(wrapped, placed, spots.to(fabric.device), settings, generator)
            wrapped_optimiser.zero_grad()
            fabric.backward(loss)
            wrapped_optimiser.step()
            totals += terms
            n_batches += 1
        history.epochs.append(dict(zip(TERMS, (totals / n_batches).tolist(), strict=True)))
        if checkpoint is not None:
            write_checkpoint(checkpoint, identity, model, optimiser, generator, history.epochs)
        progress(describe(history.epochs[-1]), epoch + 1, settings.epochs)
    model.cpu().eval()
    return history


def describe(terms: dict[str, float]) -> str:
    """One line of loss terms."""
    return "training AESTETIK (" + ", ".join(f"{name} {value:.3f}" for name, value in terms.items()) + ")"

"""The training loop: batches, optimiser, checkpoints. Lightning Fabric places it on devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from stalign_core.aestetik.checkpoint import read_checkpoint, write_checkpoint
from stalign_core.aestetik.loss import reconstruction_loss, triplet_loss, weighted_total
from stalign_core.aestetik.memory import FittingBatches
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.triplets import draw_single_triplets, draw_triplets
from stalign_core.aestetik.views import Views
from stalign_core.errors import ModelError
from stalign_core.progress import Progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric

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
    trained
        Spots that an epoch passes over, ascending.
    batch
        (n,) batches that partners are drawn across, from 0; None where they are drawn anywhere.
    """

    views: Views
    n_expression: int
    expression_labels: Tensor
    morphology_labels: Tensor
    n_labels: int
    has_morphology: Tensor
    trained: Tensor
    batch: Tensor | None = None

    def to(self, device: torch.device) -> TrainingData:
        """The same data on `device`."""
        return TrainingData(
            self.views.to(device),
            self.n_expression,
            self.expression_labels.to(device),
            self.morphology_labels.to(device),
            self.n_labels,
            self.has_morphology.to(device),
            self.trained.to(device),
            None if self.batch is None else self.batch.to(device),
        )


def training_step(
    model: Any, data: TrainingData, spots: Tensor, settings: AestetikSettings, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The loss of one batch, and its four terms, in the order of `TERMS`."""
    latent, decoded, target = data.views.reconstruct(model, spots, generator)
    draw = draw_triplets if settings.multi_triplet else draw_single_triplets
    batch = None if data.batch is None else data.batch[spots]
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
        terms.append(triplet_loss(latent, draw(labels[spots], data.n_labels, generator, batch)))
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
    fitting: FittingBatches,
) -> list[dict[str, float]]:
    """Train `model` in place on one device or several; leaves it on the CPU, in evaluation mode.

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
    fitting
        Halves batches that the memory of a GPU does not hold.

    Returns
    -------
    Mean loss terms of each epoch.
    """
    from lightning.fabric import Fabric

    if settings.devices > 1:
        from stalign_core.aestetik.distributed import train_on_several

        history = train_on_several(model, data, settings, generator, progress, checkpoint, identity, fitting)
    else:
        fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
        history = run_epochs(fabric, model, data, settings, generator, progress, checkpoint, identity, fitting)
    model.cpu().eval()
    return history


def run_epochs(
    fabric: Fabric,
    model: nn.Module,
    data: TrainingData,
    settings: AestetikSettings,
    generator: Generator,
    progress: Progress,
    checkpoint: Path | None,
    identity: str,
    fitting: FittingBatches,
) -> list[dict[str, float]]:
    """What each process of a training does: its share of every batch, on its own device.

    All processes hold the same `generator` in the same state and plan the same batches from it. `checkpoint` and
    `progress` are used by the first process alone; all of them continue from the checkpoint. Where several processes
    train, a batch that one of them cannot hold ends the training: see `FittingBatches.each_share`.
    """
    generator = _on_device(generator, fabric.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, amsgrad=True)
    wrapped, wrapped_optimiser = fabric.setup(model, optimiser)
    history: list[dict[str, float]] = []
    if checkpoint is not None:
        identity = f"{identity} on {fabric.device.type}"
        read_checkpoint(checkpoint, identity, model, optimiser, generator, history)
        fabric.barrier()  # Nobody writes a new checkpoint before everybody has read the old one.
    placed = _placed(data, fabric.device)
    wrapped.train()
    for epoch in range(len(history), settings.epochs):
        draws = _own_draws(fabric, generator)
        step = partial(_step, fabric, wrapped, wrapped_optimiser, placed, settings, draws)
        totals = torch.zeros(len(TERMS), device=fabric.device)
        n_batches = 0
        for batch in placed.views.batches(placed.trained, settings.batch_size, generator):
            if fabric.world_size == 1:
                taken = fitting.each_part(batch, step)
            else:
                taken = fitting.each_share(batch, step, fabric.world_size, fabric.global_rank)
            for terms in taken:
                totals += terms
                n_batches += 1
        means = fabric.all_reduce(totals / n_batches, reduce_op="mean")
        history.append(dict(zip(TERMS, means.tolist(), strict=True)))
        if fabric.is_global_zero:
            if checkpoint is not None:
                write_checkpoint(checkpoint, identity, model, optimiser, generator, history)
            progress(describe(history[-1]), epoch + 1, settings.epochs)
    return history


def _placed(data: TrainingData, device: torch.device) -> TrainingData:
    try:
        return data.to(device)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            "aestetik.device",
            f"GPU memory does not hold the features of {data.views.n_spots} spots",
            remedy="set aestetik.device to 'cpu', or free the GPU of other programs",
        ) from error


def _step(
    fabric: Fabric,
    model: Any,
    optimiser: Any,
    data: TrainingData,
    settings: AestetikSettings,
    draws: Generator,
    spots: Tensor,
) -> Tensor:
    """One step of the optimiser on a batch; returns its loss terms."""
    loss, terms = training_step(model, data, spots, settings, draws)
    optimiser.zero_grad()
    fabric.backward(loss)
    optimiser.step()
    return terms


def _on_device(generator: Generator, device: torch.device) -> Generator:
    """`generator`, or one on `device` that follows from it: draws are made where they are used."""
    if device.type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Generator(device).manual_seed(seed)


def _own_draws(fabric: Fabric, generator: Generator) -> Generator:
    """A process's source of triplets and dropout: `generator` itself where it is alone, else one of its own."""
    if fabric.world_size == 1:
        return generator
    common = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return Generator(fabric.device).manual_seed(common + fabric.global_rank)


def describe(terms: dict[str, float]) -> str:
    """One line of loss terms."""
    return "training AESTETIK (" + ", ".join(f"{name} {value:.3f}" for name, value in terms.items()) + ")"

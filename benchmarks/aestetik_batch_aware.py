"""Does correcting and embedding in one training beat correcting first? On annotated cohorts, over seeds.

usage: aestetik_batch_aware.py FOLDER [--data NAME ...] [--seeds 5] [--morphology]

FOLDER is that of aestetik_ablation.py, and so are the inputs and the scores: labels are read for scores alone. Each
row trains the model without or with a way to make it aware of batches, on uncorrected and on Harmony's components:

  plain         batches are not known to the model
  across        a positive comes from another batch, a negative from the anchor's own, where it can
  conditional   the decoder is told the batch, so the embedding need not carry it
  adversarial   a classifier guesses the batch from the embedding, and the encoder is trained against it
  all           the three together

The batch is the donor where there are several, else the sample. Columns as in aestetik_ablation.py.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aestetik_ablation import N_DOMAINS, Cohort, read, score_embedding
from torch import Generator, Tensor, nn
from torch.nn import functional

from stalign_core.aestetik import AestetikSettings
from stalign_core.aestetik.inputs import check_input, fit_scaling
from stalign_core.aestetik.labels import group_labels
from stalign_core.aestetik.lattice_views import LatticeViews
from stalign_core.aestetik.loss import reconstruction_loss, triplet_loss, weighted_total
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.threads import one_thread
from stalign_core.aestetik.training import WEIGHT_DECAY
from stalign_core.aestetik.triplets import draw_triplets

VARIANTS = {
    "plain": frozenset(),
    "across": frozenset({"across"}),
    "conditional": frozenset({"conditional"}),
    "adversarial": frozenset({"adversarial"}),
    "all": frozenset({"across", "conditional", "adversarial"}),
}
CLASSIFIER_WIDTH = 64


class _Reversed(torch.autograd.Function):
    """The identity, with its gradient turned round (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        return rows.view_as(rows)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class BatchAware(nn.Module):
    """The default autoencoder, with what may be added to it."""

    def __init__(self, n_channels: int, n_batches: int, settings: AestetikSettings, generator: Generator) -> None:
        super().__init__()
        self.autoencoder = Autoencoder.of(n_channels, settings, generator)
        self.to_hidden = nn.Linear(n_batches, settings.n_hidden, bias=False)
        self.to_channels = nn.Linear(n_batches, n_channels, bias=False)
        self.classifier = nn.Sequential(
            nn.Linear(settings.n_latent, CLASSIFIER_WIDTH), nn.ReLU(), nn.Linear(CLASSIFIER_WIDTH, n_batches)
        )
        for layer in (self.to_hidden, self.to_channels):
            nn.init.zeros_(layer.weight)
        for layer in (self.classifier[0], self.classifier[2]):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def decode(self, latent: Tensor, batch: Tensor) -> Tensor:
        """Channels from the embedding and the batch's code in one-hot form."""
        decoder = self.autoencoder.decoder
        hidden = functional.relu(decoder.from_latent(latent) + self.to_hidden(batch))
        return decoder.to_channels(hidden) + self.to_channels(batch)


@dataclass(frozen=True)
class Training:
    """What every step reads."""

    views: LatticeViews
    n_expression: int
    labels: tuple[Tensor, Tensor]
    present: tuple[Tensor, Tensor]
    batch: Tensor
    n_batches: int
    n_labels: int


def step_loss(
    model: BatchAware,
    data: Training,
    spots: Tensor,
    settings: AestetikSettings,
    parts: frozenset[str],
    generator: Generator,
) -> Tensor:
    """The loss of one batch of spots."""
    latent = data.views.embed(model.autoencoder, spots)
    batch = data.batch[spots]
    one_hot = functional.one_hot(batch, data.n_batches).to(latent.dtype)
    decoded = model.decode(latent, one_hot) if "conditional" in parts else model.autoencoder.decoder(latent)
    target = data.views.nearby[spots]
    terms = []
    for part, labels, present in zip(
        (slice(data.n_expression), slice(data.n_expression, None)), data.labels, data.present, strict=True
    ):
        triplets = draw_triplets(labels[spots], data.n_labels, generator, batch if "across" in parts else None)
        reconstruction = reconstruction_loss(decoded[:, part], target[:, part], present[spots], settings.reconstruction)
        terms.append((reconstruction, triplet_loss(latent, triplets)))
    loss = weighted_total(settings.morphology_weight, *terms)
    if "adversarial" in parts:
        loss = loss + functional.cross_entropy(model.classifier(_Reversed.apply(latent)), batch)
    return loss


def prepared(cohort: Cohort, features: np.ndarray, settings: AestetikSettings, seed: int) -> Training:
    """Scaled views, triplet groups and batches of a cohort."""
    given = check_input(features, cohort.morphology, cohort.lattice, cohort.sample, cohort.has_morphology)
    scaling = fit_scaling(given)
    views = LatticeViews.of(given, scaling, settings)
    rows = views.nearby.numpy() * scaling.unit
    rng = np.random.default_rng(seed)
    everyone = np.ones(given.n_spots, dtype=bool)
    split, n_labels = scaling.n_expression, N_DOMAINS[cohort.name]
    labels = tuple(
        torch.from_numpy(group_labels(part, given.sample, present, n_labels, "tied", rng))
        for part, present in ((rows[:, :split], everyone), (rows[:, split:], given.has_morphology))
    )
    names = cohort.donor if len(set(cohort.donor)) > 1 else cohort.sample
    batch = np.unique(names, return_inverse=True)[1]
    present = (torch.from_numpy(everyone), torch.from_numpy(given.has_morphology))
    return Training(views, split, labels, present, torch.from_numpy(batch), int(batch.max()) + 1, n_labels)


def embed(cohort: Cohort, features: np.ndarray, parts: frozenset[str], seed: int) -> np.ndarray:
    """Embedding of a model trained with `parts`."""
    settings = AestetikSettings()
    generator = Generator().manual_seed(seed)
    with one_thread():
        data = prepared(cohort, features, settings, seed)
        model = BatchAware(data.views.nearby.shape[1], data.n_batches, settings, generator)
        optimiser = torch.optim.Adam(
            model.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, amsgrad=True
        )
        for _ in range(settings.epochs):
            for spots in data.views.batches(torch.arange(data.views.n_spots), settings.batch_size, generator):
                optimiser.zero_grad()
                step_loss(model, data, spots, settings, parts, generator).backward()
                optimiser.step()
        model.eval()
        with torch.inference_mode():
            return data.views.embed(model.autoencoder, torch.arange(data.views.n_spots)).numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", nargs="*", default=list(N_DOMAINS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--morphology", action="store_true", help="with the weight-free encoder's features (minutes)")
    chosen = parser.parse_args()
    for name in chosen.data:
        cohort = read(chosen.folder / name, chosen.morphology)
        scaling = "sample" if len(set(cohort.donor)) > 1 else "cohort"
        for correction in ("uncorrected", "harmony"):
            for variant, parts in VARIANTS.items():
                embeddings, seconds = [], []
                for seed in range(chosen.seeds):
                    start = time.perf_counter()
                    embeddings.append(embed(cohort, cohort.features[scaling, correction], parts, seed))
                    seconds.append(time.perf_counter() - start)
                print(score_embedding(cohort, f"{scaling}, {correction}, {variant}", embeddings, seconds), flush=True)


if __name__ == "__main__":
    main()

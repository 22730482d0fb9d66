"""A step of the default model equals the formulas written out spot by spot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stalign_core.aestetik import AestetikSettings
from stalign_core.aestetik.inputs import check_input, fit_scaling
from stalign_core.aestetik.lattice_views import LatticeViews, tile_batches
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.training import TrainingData, training_step
from stalign_core.aestetik.triplets import draw_triplets
from tests.core.aestetik.inputs import model_arguments, striped_cohort


def _data() -> TrainingData:
    cohort = striped_cohort(side=5)
    given = check_input(**model_arguments(cohort))
    has_morphology = torch.arange(50) % 5 > 0
    labels = torch.from_numpy(cohort["stripe"]).long()
    return TrainingData(
        LatticeViews.of(given, fit_scaling(given), AestetikSettings()),
        4,
        labels,
        torch.where(has_morphology, 2 - labels, -1),
        3,
        has_morphology,
        torch.arange(50),
    )


def _plain_triplets(latent: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> float:
    """The triplet term by loops over anchors and comparisons."""
    drawn = draw_triplets(labels, 3, generator)
    total = 0.0
    for anchor in range(len(latent)):
        for positive, negative, valid in zip(
            drawn.positive[anchor], drawn.negative[anchor], drawn.valid[anchor], strict=True
        ):
            near = np.linalg.norm(latent[anchor] - latent[positive])
            far = np.linalg.norm(latent[anchor] - latent[negative])
            total += max(0.0, near - far + 1) if valid else 0.0
    return total / (len(latent) * 2)


def test_a_step_equals_the_paper_s_equation_written_out():
    data = _data()
    model = Autoencoder.of(8, AestetikSettings(), torch.Generator().manual_seed(0)).eval()
    spots = torch.tensor([0, 4, 7, 12, 13, 20, 24, 26, 31, 38, 44, 49])
    settings = AestetikSettings(morphology_weight=1.0)
    loss, terms = training_step(model, data, spots, settings, torch.Generator().manual_seed(3))

    with torch.no_grad():
        latent = data.views.embed(model, spots).numpy()
        decoded = model.decoder(torch.from_numpy(latent)).numpy()
    nearby, present = data.views.nearby[spots].numpy(), data.has_morphology[spots].numpy()
    generator = torch.Generator().manual_seed(3)
    expected = [
        np.abs(decoded[:, :4] - nearby[:, :4]).mean(),
        _plain_triplets(latent, data.expression_labels[spots], generator),
        (np.abs(decoded[:, 4:] - nearby[:, 4:]).mean(axis=1) * present).mean(),
        _plain_triplets(latent, data.morphology_labels[spots], generator),
    ]
    assert terms.tolist() == pytest.approx(expected, abs=1e-5)
    assert loss.item() == pytest.approx(2 * sum(expected[:2]) + 1 * sum(expected[2:]), abs=1e-4)


def test_batches_of_tiles_name_every_spot_once():
    tiles = _data().views.tiles
    batches = list(tile_batches(tiles, 12, torch.Generator().manual_seed(0)))
    assert sorted(len(batch) for batch in batches) == [12, 12, 13, 13]
    assert torch.cat(batches).sort().values.tolist() == list(range(50))

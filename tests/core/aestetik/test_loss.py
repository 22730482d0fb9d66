"""Loss terms by hand."""

from __future__ import annotations

import pytest
import torch

from stalign_core.aestetik.loss import reconstruction_loss, triplet_loss, weighted_total
from stalign_core.aestetik.triplets import Triplets


def test_reconstruction_by_hand():
    decoded, target = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])
    both = torch.tensor([True, True])
    assert reconstruction_loss(decoded, target, both, "l1").item() == pytest.approx((1.5 + 2) / 2)
    assert reconstruction_loss(decoded, target, both, "mse").item() == pytest.approx((2.5 + 8) / 2)


def test_spots_without_the_modality_count_as_zero_in_reconstruction():
    decoded, target = torch.tensor([[1.0], [9.0]]), torch.zeros(2, 1)
    assert reconstruction_loss(decoded, target, torch.tensor([True, False]), "l1").item() == 0.5
    assert reconstruction_loss(decoded, target, torch.tensor([False, False]), "l1").item() == 0


def test_triplets_by_hand():
    latent = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 5.5]])
    triplets = Triplets(torch.tensor([[1], [0], [0]]), torch.tensor([[2], [2], [1]]), torch.tensor([[1], [0], [0]]) > 0)
    # |anchor - positive| = 5, |anchor - negative| = 5.5, margin 1; two of three comparisons are not valid.
    assert triplet_loss(latent, triplets).item() == pytest.approx(0.5 / 3)


def test_triplets_far_enough_apart_cost_nothing():
    latent = torch.tensor([[0.0], [0.1], [9.0]])
    triplets = Triplets(torch.tensor([[1]] * 3), torch.tensor([[2]] * 3), torch.tensor([[True], [False], [False]]))
    assert triplet_loss(latent, triplets).item() == 0


def test_triplets_equal_torchs_own_loss():
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(6, 3, generator=generator)
    positive, negative = (torch.randint(6, (6, 2), generator=generator) for _ in range(2))
    got = triplet_loss(latent, Triplets(positive, negative, torch.ones(6, 2, dtype=torch.bool)))
    plain = torch.nn.TripletMarginLoss(eps=0)
    expected = torch.stack([plain(latent, latent[positive[:, j]], latent[negative[:, j]]) for j in range(2)]).mean()
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)


def test_coinciding_embeddings_have_a_finite_gradient():
    latent = torch.zeros(3, 2, requires_grad=True)
    triplets = Triplets(
        torch.tensor([[1], [0], [0]]), torch.tensor([[2], [2], [1]]), torch.ones(3, 1, dtype=torch.bool)
    )
    triplet_loss(latent, triplets).backward()
    assert torch.isfinite(latent.grad).all()


def test_without_valid_comparisons_the_triplet_loss_is_zero():
    triplets = Triplets(torch.tensor([[0]]), torch.tensor([[0]]), torch.tensor([[False]]))
    assert triplet_loss(torch.ones(1, 2), triplets).item() == 0


def test_no_comparisons_at_all_cost_nothing():
    nothing = torch.zeros(2, 0, dtype=torch.long)
    assert triplet_loss(torch.ones(2, 1), Triplets(nothing, nothing, nothing.bool())).item() == 0


def test_weights_of_the_modalities_add_up_to_three():
    expression, morphology = (torch.tensor(1.0), torch.tensor(10.0)), (torch.tensor(2.0), torch.tensor(20.0))
    assert weighted_total(0, expression, morphology).item() == 33
    assert weighted_total(3, expression, morphology).item() == 66
    assert weighted_total(1, expression, morphology).item() == 2 * 11 + 22

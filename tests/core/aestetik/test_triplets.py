"""Partners are drawn as the definition says, and evenly."""

from __future__ import annotations

import torch

from stalign_core.aestetik.triplets import draw_single_triplets, draw_triplets


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_anchor_meets_every_other_label_once():
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 0])
    triplets = draw_triplets(labels, 3, _generator())
    assert triplets.valid.all()
    assert (labels[triplets.positive] == labels[:, None]).all()
    for anchor, negatives in enumerate(triplets.negative):
        others = sorted({0, 1, 2} - {int(labels[anchor])})
        assert labels[negatives].tolist() == others


def test_no_anchor_is_its_own_positive():
    labels = torch.randint(3, (50,), generator=_generator())
    for seed in range(20):
        triplets = draw_triplets(labels, 3, _generator(seed))
        assert (triplets.positive != torch.arange(50)[:, None]).all()


def test_a_label_absent_from_the_batch_makes_its_comparison_invalid():
    triplets = draw_triplets(torch.tensor([0, 0, 2, 2]), 3, _generator())
    # Other labels of anchors 0 and 1 are 1 and 2; of anchors 2 and 3 they are 0 and 1.
    assert triplets.valid.tolist() == [[False, True], [False, True], [True, False], [True, False]]


def test_an_anchor_alone_in_its_label_has_no_valid_comparison():
    triplets = draw_triplets(torch.tensor([0, 1, 1]), 2, _generator())
    assert triplets.valid.tolist() == [[False], [True], [True]]


def test_spots_without_a_label_are_neither_anchors_nor_partners():
    labels = torch.tensor([-1, 0, 0, 1, 1, -1])
    for seed in range(10):
        triplets = draw_triplets(labels, 2, _generator(seed))
        assert triplets.valid.flatten().tolist() == [False, True, True, True, True, False]
        assert (labels[triplets.positive[triplets.valid]] >= 0).all()
        assert (labels[triplets.negative[triplets.valid]] >= 0).all()


def test_partners_are_drawn_evenly():
    labels = torch.tensor([0] * 5 + [1] * 4)
    positive, negative = torch.zeros(9), torch.zeros(9)
    generator = _generator()
    n_draws = 4000
    for _ in range(n_draws):
        triplets = draw_triplets(labels, 2, generator)
        positive[triplets.positive[0, 0]] += 1
        negative[triplets.negative[0, 0]] += 1
    # Binomial deviation of a share of 1/4 over 4,000 draws is .007.
    assert torch.allclose(positive[1:5] / n_draws, torch.full((4,), 0.25), atol=0.035)
    assert torch.allclose(negative[5:] / n_draws, torch.full((4,), 0.25), atol=0.035)


def test_one_label_gives_no_comparisons():
    assert draw_triplets(torch.zeros(4, dtype=torch.long), 1, _generator()).positive.shape == (4, 0)


def test_single_triplets_have_one_comparison_per_anchor_with_another_label():
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 0])
    for seed in range(10):
        triplets = draw_single_triplets(labels, 3, _generator(seed))
        assert triplets.positive.shape == triplets.negative.shape == triplets.valid.shape == (7, 1)
        assert triplets.valid.all()
        assert (labels[triplets.positive[:, 0]] == labels).all()
        assert (labels[triplets.negative[:, 0]] != labels).all()
        assert (triplets.positive[:, 0] != torch.arange(7)).all()


def test_the_other_label_of_single_triplets_is_drawn_evenly():
    labels = torch.tensor([0] * 2 + [1] * 2 + [2] * 20)
    seen = torch.zeros(3)
    generator = _generator()
    for _ in range(4000):
        seen[labels[draw_single_triplets(labels, 3, generator).negative[0, 0]]] += 1
    # Binomial deviation of a share of 1/2 over 4,000 draws is .008: labels are drawn evenly, not spots.
    assert torch.allclose(seen / 4000, torch.tensor([0.0, 0.5, 0.5]), atol=0.04)


def test_a_single_triplet_with_an_absent_label_is_invalid():
    labels = torch.tensor([0, 0, 2, 2])
    seen = set()
    for seed in range(20):
        triplets = draw_single_triplets(labels, 3, _generator(seed))
        negative = labels[triplets.negative[0, 0]].item()
        assert not triplets.valid[0, 0] or negative == 2
        seen.add(bool(triplets.valid[0, 0]))
    assert seen == {True, False}


def test_one_label_gives_no_single_triplets():
    assert draw_single_triplets(torch.zeros(4, dtype=torch.long), 1, _generator()).positive.shape == (4, 0)


def test_across_batches_positives_come_from_others_and_negatives_from_the_own():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    batch = torch.tensor([0, 1, 1, 0, 1, 1, 0, 0])
    seen = {anchor: (set(), set()) for anchor in range(8)}
    for seed in range(60):
        triplets = draw_triplets(labels, 2, _generator(seed), batch)
        assert triplets.valid.all()
        for anchor in range(8):
            seen[anchor][0].add(int(triplets.positive[anchor, 0]))
            seen[anchor][1].add(int(triplets.negative[anchor, 0]))
    assert seen[0] == ({1, 2}, {3, 7})
    assert seen[1] == ({0, 6}, {4, 5})
    assert seen[4] == ({3, 7}, {1, 2})
    assert seen[7] == ({4, 5}, {0, 6})


def test_without_partners_across_batches_they_come_from_where_there_are_some():
    # Label 0 lies in batch 0 alone, label 1 in batch 1 alone.
    labels, batch = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1])
    positives, negatives = set(), set()
    for seed in range(40):
        triplets = draw_triplets(labels, 2, _generator(seed), batch)
        assert triplets.valid.all()
        positives.add(int(triplets.positive[0, 0]))
        negatives.add(int(triplets.negative[0, 0]))
        assert triplets.positive[3:, 0].tolist() == [4, 3]
    assert (positives, negatives) == ({1, 2}, {3, 4})


def test_unlabelled_spots_are_no_partners_across_batches():
    labels, batch = torch.tensor([-1, 0, 0, 1, 1, -1]), torch.tensor([1, 0, 1, 0, 1, 0])
    for seed in range(20):
        triplets = draw_triplets(labels, 2, _generator(seed), batch)
        assert triplets.valid.flatten().tolist() == [False, True, True, True, True, False]
        assert triplets.positive[1:5, 0].tolist() == [2, 1, 4, 3]
        assert triplets.negative[1:5, 0].tolist() == [3, 4, 1, 2]


def test_partners_across_batches_are_drawn_evenly():
    labels = torch.tensor([0] * 7 + [1] * 3)
    batch = torch.tensor([1, 0, 2, 1, 2, 0, 0, 1, 1, 0])
    counts = torch.zeros(10)
    generator = _generator()
    for _ in range(4000):
        counts[draw_triplets(labels, 2, generator, batch).positive[0, 0]] += 1
    # Batch 1 is left out: spots 1, 2, 4, 5 and 6 remain.
    assert torch.allclose(counts[[1, 2, 4, 5, 6]] / 4000, torch.full((5,), 0.2), atol=0.03)
    assert counts.sum() == counts[[1, 2, 4, 5, 6]].sum()

"""scib-metrics' own total, on embeddings of which the order is known."""

from __future__ import annotations

import numpy as np
import pytest

from stalign_core.metrics.scib import scib_total

pytestmark = pytest.mark.slow


def test_mixed_batches_of_apart_labels_score_higher_than_apart_batches_of_mixed_labels(
    capfd: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    labels, batches = np.repeat(["a", "b"], 200), np.tile(["x", "y"], 200)
    labels[:3] = "c"
    noise = rng.normal(size=(400, 5))
    tissue, donors = noise.copy(), noise.copy()
    tissue[labels == "a", 0] += 8
    donors[batches == "x", 0] += 8
    totals = [
        scib_total(space, baseline=donors, labels=labels, batches=batches, ignored_labels=(), max_spots=400, seed=0)
        for space in (tissue, donors)
    ]
    assert totals[0] is not None and totals[1] is not None
    assert 0.8 < totals[0] <= 1 and totals[1] < 0.5
    told = capfd.readouterr()
    assert "Skip" not in told.out + told.err


def test_one_batch_has_no_total() -> None:
    space = np.zeros((200, 3))
    labels = np.repeat(["a", "b"], 100)
    one = np.full(200, "x")
    assert (
        scib_total(space, baseline=space, labels=labels, batches=one, ignored_labels=(), max_spots=99, seed=0) is None
    )

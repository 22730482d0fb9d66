"""scib-metrics' own total, on embeddings of which the order is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

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
    assert totals[0] == pytest.approx(weighted_mean(tissue, donors, labels, batches), abs=2e-3)


def weighted_mean(space: npt.NDArray[Any], before: npt.NDArray[Any], labels: Any, batches: Any) -> float:
    """0.6 times the mean of the single metrics of conservation, 0.4 times that of correction, in a plain call."""
    from scib_metrics.benchmark import Benchmarker
    from scib_metrics.nearest_neighbors import NeighborsResults

    def neighbors(points: npt.NDArray[Any], size: int) -> Any:
        distances, indices = NearestNeighbors(n_neighbors=size, algorithm="kd_tree").fit(points).kneighbors(points)
        return NeighborsResults(indices=indices, distances=distances)

    obs = pd.DataFrame({"label": labels, "batch": batches}).astype("category")
    obs.index = obs.index.astype(str)
    judged = AnnData(obs=obs, obsm={"before": before, "space": space})
    bench = Benchmarker(
        judged, "batch", "label", ["space"], pre_integrated_embedding_obsm_key="before", progress_bar=False
    )
    bench.prepare(neighbor_computer=neighbors)
    bench.benchmark()
    table = bench.get_results(min_max_scale=False)
    kinds = table.loc["Metric Type"]
    parts = [table.loc["space", kinds == kind].astype(float) for kind in ("Bio conservation", "Batch correction")]
    assert all(len(part) >= 4 for part in parts)
    return float(0.6 * parts[0].mean() + 0.4 * parts[1].mean())


def test_one_batch_has_no_total() -> None:
    space = np.zeros((200, 3))
    labels = np.repeat(["a", "b"], 100)
    one = np.full(200, "x")
    assert (
        scib_total(space, baseline=space, labels=labels, batches=one, ignored_labels=(), max_spots=99, seed=0) is None
    )

"""scib-metrics' own total: 0.6 times its mean of biological conservation, 0.4 times its mean of batch correction."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from stalign_core.domains.annotation import is_annotated
from stalign_core.metrics.mixing import import_scib_metrics
from stalign_core.metrics.neighborhoods import find_neighborhoods

_FEWEST_SPOTS = 100
"""Its neighbourhoods hold 90 spots."""


def scib_total(
    embedding: npt.NDArray[Any],
    *,
    baseline: npt.NDArray[Any],
    labels: Any,
    batches: npt.NDArray[Any],
    ignored_labels: Collection[str],
    max_spots: int,
    seed: int,
) -> float | None:
    """The unscaled total of scib-metrics' benchmark (Luecken et al. 2022) on a seeded subsample of annotated spots.

    Parameters
    ----------
    embedding, baseline
        (n_spots, n_features) what is judged, and the components before correction.
    labels, batches
        (n_spots,) each; labels may be missing.
    ignored_labels
        Labels that say nothing about the tissue.
    max_spots
        Largest subsample.
    seed
        Of the subsample.

    Returns
    -------
    The total, or None with fewer than 100 annotated spots, two labels or two batches.
    """
    import pandas as pd
    from anndata import AnnData

    rows = np.flatnonzero(is_annotated(labels, ignored_labels))
    if len(rows) > max_spots:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_spots, replace=False))
    obs = pd.DataFrame(
        {"label": np.asarray(labels, dtype=object)[rows].astype(str), "batch": batches[rows].astype(str)},
        index=[str(row) for row in range(len(rows))],
    ).astype("category")
    if len(rows) < _FEWEST_SPOTS or obs["label"].nunique() < 2 or obs["batch"].nunique() < 2:
        return None
    import_scib_metrics()
    with warnings.catch_warnings(), _silenced("scib_metrics"):
        warnings.simplefilter("ignore")
        from scib_metrics.benchmark import Benchmarker
        from scib_metrics.nearest_neighbors import NeighborsResults

        def neighbors(points: npt.NDArray[Any], size: int) -> Any:
            found = find_neighborhoods(points, size)
            return NeighborsResults(indices=found.indices, distances=found.distances)

        judged = AnnData(obs=obs, obsm={"baseline": baseline[rows], "embedding": embedding[rows]})
        bench = Benchmarker(
            judged,
            batch_key="batch",
            label_key="label",
            embedding_obsm_keys=["embedding"],
            pre_integrated_embedding_obsm_key="baseline",
            progress_bar=False,
        )
        bench.prepare(neighbor_computer=neighbors)
        bench.benchmark()
        table = bench.get_results(min_max_scale=False)
    return float(table.loc["embedding", "Total"])


@contextmanager
def _silenced(logger: str) -> Iterator[None]:
    """Without what a library tells of each label that it skips."""
    chosen = logging.getLogger(logger)
    level = chosen.level
    chosen.setLevel(logging.WARNING)
    try:
        yield
    finally:
        chosen.setLevel(level)

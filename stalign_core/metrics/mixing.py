"""Mixing of batches in an embedding, through scib-metrics on the CPU."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stalign_core.metrics.neighborhoods import Neighborhoods

KBET_ALPHA: Final = 0.05
"""A neighbourhood is rejected below this p-value."""

_CHUNK_SPOTS: Final = 2048
_CHUNK_NEIGHBORS: Final = 96
_CHUNK_BATCHES: Final = 16
"""Spots per call of the compiled function, and the multiples that neighbours and batches are filled up to: one shape,
so that it is compiled once in a process (1.2 s) and not for each partition."""


def ilisi(neighborhoods: Neighborhoods, batches: npt.NDArray[Any]) -> float:
    """How many batches meet around a spot: median inverse Simpson index, scaled to [0, 1] (1: all, evenly).

    Korsunsky et al. 2019, scaled as by Luecken et al. 2022. Neighbours are weighted by a Gaussian kernel whose
    perplexity is a third of the neighbourhood.

    Parameters
    ----------
    neighborhoods
        Of every spot, or of a sample of them.
    batches
        (n_spots,) batch of each spot, two batches at least.
    """
    names, codes = np.unique(np.asarray(batches).astype(str), return_inverse=True)
    simpson = _simpson_indices(neighborhoods, codes.astype(np.int32), len(names))
    return float((np.median(1 / simpson) - 1) / (len(names) - 1))


def kbet(neighborhoods: Neighborhoods, batches: npt.NDArray[Any], alpha: float = KBET_ALPHA) -> float:
    """Share of neighbourhoods whose batches are as frequent as in the whole: kBET's acceptance rate, in [0, 1].

    Buettner et al. 2019: Pearson's chi-squared test of each neighbourhood against the batch frequencies of all spots.
    This is the rate over all spots, not the mean over labels of rates within each label: it needs no annotation, and
    counts it as a lack of mixing when tissue composition differs between batches.

    Parameters
    ----------
    neighborhoods
        Of every spot, or of a sample of them, where the rate is that of the sample.
    batches
        (n_spots,) batch of each spot, two batches at least.
    alpha
        Level of the test.
    """
    if len(neighborhoods.indices) < len(batches):
        return _acceptance_rate(neighborhoods, batches, alpha)
    scib_metrics = import_scib_metrics()
    neighbors = scib_metrics.nearest_neighbors.NeighborsResults(
        indices=neighborhoods.indices, distances=neighborhoods.distances
    )
    accepted, _, _ = scib_metrics.kbet(neighbors, np.asarray(batches).astype(str), alpha=alpha)
    return float(accepted)


def _acceptance_rate(neighborhoods: Neighborhoods, batches: npt.NDArray[Any], alpha: float) -> float:
    """kBET of some of the spots: scib-metrics knows it of all only."""
    from scipy.stats import chi2

    names, codes = np.unique(np.asarray(batches).astype(str), return_inverse=True)
    expected = np.bincount(codes) * (neighborhoods.size / len(codes))
    observed = np.zeros((len(neighborhoods.indices), len(names)))
    np.add.at(observed, (np.arange(len(observed))[:, None], codes[neighborhoods.indices]), 1)
    statistics = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float((chi2.sf(statistics, len(names) - 1) >= alpha).mean())


def _simpson_indices(
    neighborhoods: Neighborhoods, codes: npt.NDArray[np.int32], n_batches: int
) -> npt.NDArray[np.float64]:
    """Simpson's index around each spot.

    Each chunk brings the batches of its own neighbours, so that no array has the number of spots in its shape. Chunks
    are filled up without changing a value: with repeated spots, with neighbours that are marked as the spot itself,
    which has no weight, and with batches that nobody belongs to.
    """
    scib_metrics = import_scib_metrics()
    n_others = neighborhoods.size - 1
    width = _round_up(n_others, _CHUNK_NEIGHBORS)
    filled = ((0, 0), (0, width - n_others))
    indices = np.pad(neighborhoods.indices[:, 1:], filled)
    distances = np.pad(neighborhoods.distances[:, 1:], filled)
    itself = np.full((_CHUNK_SPOTS, 1), -1, dtype=np.int32)
    places = np.arange(_CHUNK_SPOTS * width, dtype=np.int32).reshape(_CHUNK_SPOTS, width)
    places[:, n_others:] = itself
    simpson = np.empty(len(indices))
    for start in range(0, len(indices), _CHUNK_SPOTS):
        stop = min(start + _CHUNK_SPOTS, len(indices))
        rows = np.minimum(np.arange(start, start + _CHUNK_SPOTS), stop - 1)
        chunk = scib_metrics.utils.compute_simpson_index(
            knn_dists=distances[rows],
            knn_idx=places,
            row_idx=itself,
            labels=codes[indices[rows]].ravel(),
            n_labels=_round_up(n_batches, _CHUNK_BATCHES),
            perplexity=float(neighborhoods.size // 3),
        )
        simpson[start:stop] = np.asarray(chunk)[: stop - start]
    return simpson


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def import_scib_metrics() -> Any:
    """scib-metrics, with JAX kept on the CPU and torch's devices left alone."""
    import jax

    # Without effect once JAX has chosen its devices; then whoever chose them decides.
    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # umap, which it imports, warns that TensorFlow is missing.
        warnings.simplefilter("ignore", ImportWarning)
        import scib_metrics

    return scib_metrics

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from stalign_core.metrics import find_neighborhoods, ilisi, kbet, mixing
from stalign_core.metrics.neighborhoods import Neighborhoods, neighborhood_size


def _mixed(n_spots: int, shift: float, n_batches: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    batches = rng.integers(0, n_batches, n_spots)
    return rng.normal(size=(n_spots, 4)) + shift * np.eye(4)[batches], batches.astype(str)


def _simpson_by_bisection(distances: np.ndarray, batches: np.ndarray, perplexity: float) -> float:
    """Sum of squared batch weights under exp(-beta d), beta such that the weights' entropy is log(perplexity)."""
    low, high = 0.0, 1e6
    for _ in range(200):
        beta = (low + high) / 2
        weights = np.exp(-beta * (distances - distances.min()))
        weights /= weights.sum()
        entropy = -np.sum(weights[weights > 0] * np.log(weights[weights > 0]))
        low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
    return float(sum(weights[batches == batch].sum() ** 2 for batch in np.unique(batches)))


def _ilisi_by_hand(neighborhoods: Neighborhoods, batches: np.ndarray) -> float:
    perplexity = neighborhoods.size // 3
    lisi = [
        1 / _simpson_by_bisection(distances[1:].astype(float), batches[indices[1:]], perplexity)
        for indices, distances in zip(neighborhoods.indices, neighborhoods.distances, strict=True)
    ]
    return float((np.median(lisi) - 1) / (len(np.unique(batches)) - 1))


def _kbet_by_hand(neighborhoods: Neighborhoods, batches: np.ndarray) -> float:
    names, totals = np.unique(batches, return_counts=True)
    accepted = []
    for indices in neighborhoods.indices:
        observed = [np.sum(batches[indices] == name) for name in names]
        accepted.append(chisquare(observed, len(indices) * totals / len(batches)).pvalue >= 0.05)
    return float(np.mean(accepted))


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_ilisi_and_kbet_equal_their_formulas(shift: float) -> None:
    embedding, batches = _mixed(160, shift)
    neighborhoods = find_neighborhoods(embedding, 31)
    assert ilisi(neighborhoods, batches) == pytest.approx(_ilisi_by_hand(neighborhoods, batches), abs=2e-4)
    assert kbet(neighborhoods, batches) == pytest.approx(_kbet_by_hand(neighborhoods, batches), abs=1e-9)


def test_separate_batches_have_none_and_even_batches_have_full_mixing() -> None:
    apart, batches = _mixed(300, 50.0)
    assert ilisi(find_neighborhoods(apart, 30), batches) == pytest.approx(0, abs=1e-4)
    assert kbet(find_neighborhoods(apart, 30), batches) == 0
    together, batches = _mixed(300, 0.0)
    assert ilisi(find_neighborhoods(together, 30), batches) > 0.6
    assert kbet(find_neighborhoods(together, 30), batches) > 0.85


def test_filled_up_chunks_give_what_scib_metrics_gives_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, batches = _mixed(150, 0.5, n_batches=4)
    monkeypatch.setattr(mixing, "_CHUNK_SPOTS", 64)
    monkeypatch.setattr(mixing, "_CHUNK_NEIGHBORS", 24)
    neighborhoods = find_neighborhoods(embedding, 30)
    scib_metrics = mixing.import_scib_metrics()
    whole = scib_metrics.nearest_neighbors.NeighborsResults(
        indices=neighborhoods.indices, distances=neighborhoods.distances
    )
    assert ilisi(neighborhoods, batches) == pytest.approx(scib_metrics.ilisi_knn(whole, batches), abs=1e-6)


def test_neighbourhoods_are_exact_and_begin_with_the_spot() -> None:
    embedding = np.random.default_rng(1).normal(size=(40, 3))
    embedding[7] = embedding[3]
    found = find_neighborhoods(embedding, 6)
    expected = np.sort(cdist(embedding, embedding), axis=1)[:, :6]
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(40))
    assert (found.indices[3, 1], found.indices[7, 1]) == (7, 3)
    assert all(len(set(row)) == 6 for row in found.indices.tolist())


def test_a_sample_of_spots_has_the_neighbourhoods_that_they_have_among_all() -> None:
    embedding, _ = _mixed(200, 0.7)
    embedding[[7, 9, 11]] = embedding[3]
    rows = np.array([3, 7, 50, 199])
    whole, few = find_neighborhoods(embedding, 30), find_neighborhoods(embedding, 30, rows)
    np.testing.assert_array_equal(few.indices[:, 0], rows)
    np.testing.assert_allclose(few.distances, whole.distances[rows], atol=1e-5)
    assert [set(row) for row in few.indices.tolist()] == [set(row) for row in whole.indices[rows].tolist()]
    assert all(len(set(row)) == 30 for row in few.indices.tolist())


def test_a_spot_that_coincides_with_more_others_than_it_has_neighbours_is_itself_first_and_once() -> None:
    embedding = np.vstack([np.zeros((20, 2)), np.ones((5, 2))])
    found = find_neighborhoods(embedding, 4, np.arange(20))
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(20))
    assert all(len(set(row)) == 4 for row in found.indices.tolist())


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_ilisi_and_kbet_of_a_sample_equal_their_formulas(shift: float) -> None:
    embedding, batches = _mixed(400, shift)
    few = find_neighborhoods(embedding, 31, np.arange(0, 400, 3))
    assert ilisi(few, batches) == pytest.approx(_ilisi_by_hand(few, batches), abs=2e-4)
    assert kbet(few, batches) == pytest.approx(_kbet_by_hand(few, batches), abs=1e-9)


@pytest.mark.parametrize(("n_spots", "n_batches", "size"), [(4000, 4, 90), (1200, 4, 75), (40, 4, 10), (8, 2, 8)])
def test_neighbourhoods_shrink_with_the_batches(n_spots: int, n_batches: int, size: int) -> None:
    assert neighborhood_size(np.arange(n_spots) % n_batches, 90) == size

from __future__ import annotations

import numpy as np
import pytest

from stalign_core.domains import clustering
from stalign_core.domains.clustering import cluster
from stalign_core.errors import ModelError, SettingsError


def _blobs(n_per_blob: int, spread: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0]], dtype=float)
    truth = np.repeat(np.arange(3), n_per_blob)
    return centres[truth] + rng.normal(scale=spread, size=(len(truth), 3)), truth


def _same_division(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_clusterers_find_separate_blobs(clusterer: clustering.Clusterer) -> None:
    points, truth = _blobs(60)
    assert _same_division(cluster(points, 3, clusterer, seed=0), truth)


def test_tied_mixture_follows_elongated_clusters_that_kmeans_cuts() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 300)
    points = np.stack([rng.normal(scale=5, size=600), truth * 6 + rng.normal(scale=0.5, size=600)], axis=1)
    assert _same_division(cluster(points, 2, "tied", seed=0), truth)
    assert not _same_division(cluster(points, 2, "kmeans", seed=0), truth)


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(clusterer: clustering.Clusterer) -> None:
    points = np.random.default_rng(3).normal(size=(300, 5))
    before = points.copy()
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    first, second = (cluster(points, 6, clusterer, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_the_embedding_does_not_matter_to_the_mixture(scale: float) -> None:
    points, truth = _blobs(60)
    assert _same_division(cluster(points * scale, 3, "tied", seed=0), truth)


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_many_spots_are_fitted_on_a_subsample_and_all_assigned(
    clusterer: clustering.Clusterer, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, truth = _blobs(200)
    monkeypatch.setattr(clustering, "MAX_FIT_SPOTS", 90)
    sizes: list[int] = []
    make = clustering._estimator

    def recording(*arguments: object) -> object:
        estimator = make(*arguments)  # type: ignore[arg-type]
        fit = estimator.fit

        def counted(points: np.ndarray) -> object:
            sizes.append(len(points))
            return fit(points)

        estimator.fit = counted
        return estimator

    monkeypatch.setattr(clustering, "_estimator", recording)
    assert _same_division(cluster(points, 3, clusterer, seed=0), truth)
    assert sizes == [90]


def test_one_domain_holds_every_spot() -> None:
    assert set(cluster(np.eye(4), 1, "tied", seed=0).tolist()) == {0}


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_coinciding_spots_make_fewer_clusters_without_a_warning(
    clusterer: clustering.Clusterer, recwarn: pytest.WarningsRecorder
) -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 1.0]], 10, axis=0)
    found = cluster(points, 3, clusterer, seed=0)
    assert found.shape == (20,)
    assert found[0] != found[10]
    assert not [warning for warning in recwarn if "onverge" in str(warning.message)]


def test_more_domains_than_spots_is_one_line_that_names_setting_and_option() -> None:
    with pytest.raises(SettingsError, match=r"domains\.n_domains.*5.*4 spots.*--n-domains"):
        cluster(np.eye(4), 5, "kmeans", seed=0)


def test_an_unknown_clusterer_is_refused() -> None:
    with pytest.raises(SettingsError, match="kmeans or tied"):
        cluster(np.eye(4), 2, "leiden", seed=0)  # type: ignore[arg-type]


def test_values_that_are_not_finite_are_counted_in_the_error() -> None:
    points = np.zeros((5, 2))
    points[1, 0] = np.nan
    points[3] = np.inf
    with pytest.raises(ModelError, match="2 of 5 spots"):
        cluster(points, 2, "kmeans", seed=0)

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from stalign_core.domains import DomainAssigner, assign_domains
from stalign_core.domains.clustering import Clusterer
from stalign_core.errors import ModelError


def blobs(seed: int = 0, n_spots: int = 600) -> np.ndarray:
    """Three overlapping clusters, longer in one direction than in the other two, off the origin."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0, 0, 0], [4, 0, 0], [0, 3, 1]], dtype=float)
    spread = np.array([1.5, 0.7, 0.4])
    return 50 + centres[rng.integers(3, size=n_spots)] + rng.normal(size=(n_spots, 3)) * spread


def names_of(points: np.ndarray) -> np.ndarray:
    return np.array([f"s_{number:04d}" for number in range(len(points))])


def assigner_of(points: np.ndarray, clusterer: Clusterer, n_domains: int = 3, donor: str = "") -> DomainAssigner:
    return assign_domains(points, n_domains, clusterer, 0, spot_names=names_of(points), donor=donor).assigner


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_spots_that_were_clustered_get_the_domain_they_had(clusterer: Clusterer) -> None:
    points = blobs()
    found = assign_domains(points, 3, clusterer, 0, spot_names=names_of(points), donor="P01")
    assert set(found.assigner.names) == {"P01:1", "P01:2", "P01:3"}
    np.testing.assert_array_equal(found.assigner.assign(points).domain, found.domain_unrefined)


def test_support_under_the_mixture_is_scikit_learns_posterior() -> None:
    points, new = blobs(), blobs(seed=4, n_spots=50)
    centre, spread = points.mean(axis=0), np.sqrt(np.mean((points - points.mean(axis=0)) ** 2))
    mixture = GaussianMixture(3, covariance_type="tied", n_init=10, max_iter=300, random_state=0)
    mixture.fit((points - centre) / spread)
    expected = np.sort(mixture.predict_proba((new - centre) / spread), axis=1)
    found = assigner_of(points, "tied").assign(new)
    np.testing.assert_allclose(np.sort(found.support, axis=1), expected, atol=1e-9)
    assert (expected.max(axis=1) < 0.95).any(), "some spots are between domains"


def test_distance_is_mahalanobis_to_the_nearest_domain() -> None:
    points, new = blobs(), blobs(seed=4, n_spots=50)
    centre, spread = points.mean(axis=0), np.sqrt(np.mean((points - points.mean(axis=0)) ** 2))
    mixture = GaussianMixture(3, covariance_type="tied", n_init=10, max_iter=300, random_state=0)
    mixture.fit((points - centre) / spread)
    about = (new - centre)[:, None] / spread - mixture.means_
    squares = np.einsum("nki,ij,nkj->nk", about, np.linalg.inv(mixture.covariances_), about)
    found = assigner_of(points, "tied").assign(new)
    np.testing.assert_allclose(found.distance, np.sqrt(squares.min(axis=1)), rtol=1e-6)


def test_support_of_k_means_is_the_margin_by_hand() -> None:
    # Centres 0 and 4: the point 1 is 1 and 3 away, the point 2 lies on the border, the point -4 is 4 and 8 away.
    points = np.array([[-0.1], [0.1], [0.0], [3.9], [4.1]])
    assigner = assigner_of(points, "kmeans", n_domains=2)
    found = assigner.assign(np.array([[1.0], [2.0], [4.0], [-4.0]]))
    column = assigner.names.index("1")
    np.testing.assert_allclose(found.support[:, column], [2 / 3, 0, 0, 1 / 2], atol=1e-9)
    np.testing.assert_allclose(found.support[:, 1 - column], [0, 0, 1, 0], atol=1e-9)


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_far_spots_are_unlike_and_others_of_the_same_kind_are_not(clusterer: Clusterer) -> None:
    points = blobs(n_spots=3000)
    assigner = assigner_of(points, clusterer)
    assert 0 < assigner.assign(points).unlike.mean() <= 0.001
    assert assigner.assign(blobs(seed=8, n_spots=3000)).unlike.mean() < 0.01
    # Ten deviations off in the direction that varies least, which in plain distance is no farther than others.
    off = np.array([[50.0, 50.0, 54.0]])
    assert np.linalg.norm(off - points.mean(axis=0)) < np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    assert assigner.assign(off).unlike.all()


def test_support_of_the_domain_given_in_the_end() -> None:
    points = blobs()
    assigner = assigner_of(points, "tied")
    found = assigner.assign(points[:4])
    given = np.array(["1", "3", "2", "1"], dtype=object)
    expected = [found.support[row, assigner.names.index(name)] for row, name in enumerate(given)]
    np.testing.assert_array_equal(assigner.support_of(found, given), expected)


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
@pytest.mark.parametrize("n_domains", [1, 3])
def test_arrays_and_facts_rebuild_the_assigner(clusterer: Clusterer, n_domains: int) -> None:
    points, new = blobs(), blobs(seed=4)
    assigner = assigner_of(points, clusterer, n_domains)
    arrays, facts = assigner.to_arrays()
    again = DomainAssigner.from_arrays(arrays, json.loads(json.dumps(facts)))
    for name in ("domain", "support", "distance", "unlike"):
        np.testing.assert_array_equal(getattr(again.assign(new), name), getattr(assigner.assign(new), name))


def test_coinciding_spots_leave_no_domain_that_none_of_them_had() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 1.0]], 10, axis=0)
    found = assign_domains(points, 3, "kmeans", 0, spot_names=names_of(points))
    assert set(found.assigner.names) == set(found.domain)
    assert found.assigner.assign(np.array([[0.1, 0.0]])).domain.tolist() == [found.domain[0]]


def test_one_domain_takes_every_spot() -> None:
    found = assigner_of(blobs(), "tied", n_domains=1).assign(blobs(seed=4))
    assert set(found.domain) == {"1"}
    np.testing.assert_array_equal(found.support, 1)


def test_embeddings_that_do_not_fit_are_refused() -> None:
    assigner = assigner_of(blobs(), "tied")
    with pytest.raises(ModelError, match="expected 3 features per spot"):
        assigner.assign(np.zeros((2, 4)))
    with pytest.raises(ModelError, match="not finite"):
        assigner.assign(np.full((1, 3), np.nan))

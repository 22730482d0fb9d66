from __future__ import annotations

import numpy as np
import pytest

from stalign_core.domains.assignment import assign_domains
from stalign_core.domains.numbering import domain_names, natural_order, rename

_SPOTS = np.array(["s_A", "s_B", "s_C", "s_D", "s_E", "s_F", "s_G"])
_CLUSTERS = np.array([4, 0, 0, 0, 7, 4, 7])
"""0 is the largest; 4 and 7 hold two spots each, and 4 holds the spot name that sorts first."""

_NAMES = ["2", "1", "1", "1", "3", "2", "3"]


def named(clusters: np.ndarray, spot_names: np.ndarray) -> np.ndarray:
    return rename(clusters, domain_names(clusters, spot_names))


def test_the_largest_cluster_is_1_and_equal_sizes_follow_spot_names() -> None:
    assert named(_CLUSTERS, _SPOTS).tolist() == _NAMES


def test_permuted_cluster_ids_give_the_same_names() -> None:
    for permuted in ({4: 0, 0: 1, 7: 2}, {4: 9, 0: 3, 7: 1}, {4: 1, 0: 2, 7: 0}):
        clusters = np.array([permuted[c] for c in _CLUSTERS.tolist()])
        assert named(clusters, _SPOTS).tolist() == _NAMES


def test_shuffled_spots_keep_their_names() -> None:
    order = np.random.default_rng(0).permutation(len(_SPOTS))
    shuffled = named(_CLUSTERS[order], _SPOTS[order])
    assert shuffled.tolist() == [_NAMES[i] for i in order]


def test_donor_scope_prefixes_the_donor() -> None:
    assert domain_names(_CLUSTERS, _SPOTS, donor="Br8100") == {0: "Br8100:1", 4: "Br8100:2", 7: "Br8100:3"}


def test_domain_10_sorts_after_domain_9() -> None:
    assert sorted(["10", "9", "1"], key=natural_order) == ["1", "9", "10"]
    assert sorted(["b:2", "a:10", "a:9"], key=natural_order) == ["a:9", "a:10", "b:2"]


def test_refined_and_unrefined_domains_share_their_names() -> None:
    embedding = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1], [9.2]])
    nearest = np.full((7, 2), -1)
    nearest[4] = [0, 1]
    nearest[5] = [1, 2]
    found = assign_domains(embedding, 2, "kmeans", 0, spot_names=_SPOTS, nearest=nearest, donor="d")
    assert found.domain_unrefined.tolist() == ["d:1"] * 4 + ["d:2"] * 3
    assert found.domain.tolist() == ["d:1"] * 6 + ["d:2"]
    assert (found.n_found, found.n_changed) == (2, 2)


def test_without_neighbours_nothing_is_refined() -> None:
    found = assign_domains(np.eye(7), 3, "tied", 0, spot_names=_SPOTS)
    assert found.domain.tolist() == found.domain_unrefined.tolist()


@pytest.mark.parametrize("clusterer", ["kmeans", "tied"])
def test_another_seed_names_clear_domains_alike(clusterer: str) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [60, 40, 50])
    embedding = np.eye(3)[truth] * 8 + rng.normal(scale=0.3, size=(150, 3))
    names = np.array([f"s_{i:03d}" for i in range(150)])
    for seed in range(3):
        found = assign_domains(embedding, 3, clusterer, seed, spot_names=names)  # type: ignore[arg-type]
        assert found.domain.tolist() == ["1"] * 60 + ["3"] * 40 + ["2"] * 50

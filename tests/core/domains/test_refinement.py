from __future__ import annotations

import numpy as np

from stalign_core.domains.refinement import refine

_LINE = np.array([[-1, 1], [0, 2], [1, 3], [2, 4], [3, -1]])
"""Five spots in a row, each with its left and right neighbour."""


def test_a_lone_spot_takes_the_domain_around_it() -> None:
    assert refine(np.array([1, 1, 2, 1, 1]), _LINE).tolist() == [1, 1, 1, 1, 1]


def test_a_tie_keeps_the_spots_own_domain() -> None:
    # Spot 2 sees domains 1, 2 and 3 once each; the ends see two domains once each.
    assert refine(np.array([1, 1, 2, 3, 3]), _LINE).tolist() == [1, 1, 2, 3, 3]


def test_a_tie_between_two_other_domains_keeps_the_spots_own_whatever_the_ids() -> None:
    nearest = np.full((5, 4), -1)
    nearest[0] = [1, 2, 3, 4]
    assert refine(np.array([9, 1, 1, 5, 5]), nearest)[0] == 9
    assert refine(np.array([0, 5, 5, 1, 1]), nearest)[0] == 0


def test_votes_are_counted_before_any_spot_changes() -> None:
    # In order, spot 1 would become 0 first and take its neighbours' majority with it.
    assert refine(np.array([0, 1, 0, 1, 0]), _LINE).tolist() == [0, 0, 1, 0, 0]


def test_a_missing_neighbour_has_no_vote() -> None:
    assert refine(np.array([1, 2, 2]), np.array([[-1, -1], [0, -1], [-1, -1]])).tolist() == [1, 2, 2]


def test_strings_stay_strings() -> None:
    domains = np.array(["a:1", "a:1", "a:2", "a:1", "a:1"], dtype=object)
    assert refine(domains, _LINE).tolist() == ["a:1"] * 5


def test_matches_a_plain_count_of_votes_on_random_neighbours() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 4, 200)
    nearest = rng.integers(-1, 200, (200, 6))
    expected = []
    for own, neighbors in zip(clusters, nearest, strict=True):
        ballot = [own, *(clusters[n] for n in neighbors if n >= 0)]
        counts = {c: ballot.count(c) for c in ballot}
        winners = [c for c, votes in counts.items() if votes == max(counts.values())]
        expected.append(winners[0] if len(winners) == 1 else own)
    refined = refine(clusters, nearest)
    assert refined.tolist() == [int(c) for c in expected]
    assert (refined != clusters).any()

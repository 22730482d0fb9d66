from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from stalign_core.metrics import rescaled_silhouettes, separation
from stalign_core.metrics.separation import OUTSIDE


def _embedding() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 4, 150)
    return rng.normal(size=(150, 6)) + 100 + 1.5 * np.eye(6)[groups], groups


def test_four_points_worked_by_hand() -> None:
    # On a line at 0, 1 | 5, 7: a = 1, 1, 2, 2 and b = 6, 5, 4.5, 6.5.
    widths = [5 / 6, 4 / 5, 2.5 / 4.5, 4.5 / 6.5]
    found = rescaled_silhouettes(np.array([[0.0], [1.0], [5.0], [7.0]]), {"x": np.array([0, 0, 1, 1])})
    assert found["x"] == pytest.approx((np.mean(widths) + 1) / 2, abs=1e-6)


def test_several_divisions_each_equal_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, groups = _embedding()
    other = np.arange(150) % 3
    monkeypatch.setattr(separation, "_CHUNK_VALUES", 150 * 40)
    found = rescaled_silhouettes(embedding, {"groups": groups, "other": other})
    for name, codes in (("groups", groups), ("other", other)):
        assert found[name] == pytest.approx((silhouette_score(embedding, codes) + 1) / 2, abs=1e-5)


def test_spots_outside_a_division_do_not_count_in_it() -> None:
    embedding, groups = _embedding()
    inside = np.arange(150) % 3 > 0
    found = rescaled_silhouettes(embedding, {"part": np.where(inside, groups, OUTSIDE), "all": groups})
    expected = (silhouette_score(embedding[inside], groups[inside]) + 1) / 2
    assert found["part"] == pytest.approx(expected, abs=1e-5)
    assert found["all"] != pytest.approx(expected, abs=1e-4)


def test_a_spot_alone_in_its_group_has_width_zero() -> None:
    embedding = np.array([[0.0], [1.0], [5.0]])
    codes = np.array([0, 0, 1])
    expected = (silhouette_score(embedding, codes) + 1) / 2
    assert rescaled_silhouettes(embedding, {"x": codes})["x"] == pytest.approx(expected, abs=1e-6)


def test_coinciding_spots_give_the_middle_of_the_range() -> None:
    assert rescaled_silhouettes(np.ones((4, 2)), {"x": np.array([0, 0, 1, 1])})["x"] == 0.5

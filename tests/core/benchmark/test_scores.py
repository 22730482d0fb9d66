"""Choices, intervals and paired tests, each against hand computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stalign_core.benchmark.page import gains_table
from stalign_core.benchmark.scores import (
    TRIAL_COLUMNS,
    best_choices,
    interval,
    paired_differences,
    sign_flip_test,
    summarise,
    tuning_scores,
    with_composite,
)


def rows(*found: dict[str, Any]) -> pd.DataFrame:
    base = dict.fromkeys(TRIAL_COLUMNS, "")
    plain = {**base, "task": "multi_donor", "fold": 1, "role": "test", "grp": "test", "seed": 0, "refined": False}
    return pd.DataFrame([{**plain, "representation": "pca", "clusterer": "tied", **each} for each in found])


def test_the_composite_weighs_conservation_against_mixing() -> None:
    shared = {"trial": "a", "arm": "harmony", "settings": "{}", "role": "tuning"}
    values = {"ari": 0.6, "nmi": 0.3, "silhouette": 0.6, "ilisi": 0.2, "kbet": 0.4}
    table = rows(
        *(
            {**shared, "metric": name, "value": value, "clusterer": "tied" if name in ("ari", "nmi") else ""}
            for name, value in values.items()
        )
    )
    # mean(.6, .3, .6) = .5 and mean(.2, .4) = .3
    assert tuning_scores(table, 0.6)["score"].tolist() == pytest.approx([0.6 * 0.5 + 0.4 * 0.3])
    assert tuning_scores(table, 1.0)["score"].tolist() == pytest.approx([0.5])
    without_batches = table[~table["metric"].isin(["ilisi", "kbet"])]
    assert tuning_scores(without_batches, 0.6)["score"].tolist() == pytest.approx([0.5])


def test_of_one_section_with_one_label_biological_conservation_alone_decides() -> None:
    """Nothing can be measured of its space, neither a silhouette of labels nor mixing; of two sections mixing can."""
    shared = {"trial": "a", "arm": "uncorrected", "settings": "{}", "role": "tuning"}
    alone = [{**shared, "grp": "P1", "metric": name, "value": value} for name, value in (("ari", 1.0), ("nmi", 0.5))]
    assert tuning_scores(rows(*alone), 0.6)["score"].tolist() == pytest.approx([0.75])
    of_space = {"silhouette": 0.6, "ilisi": 0.2, "kbet": 0.4}
    other = [{**shared, "grp": "P2", "metric": name, "value": value} for name, value in (("ari", 0.6), ("nmi", 0.3))]
    other += [{**shared, "grp": "P2", "metric": m, "value": v, "clusterer": ""} for m, v in of_space.items()]
    assert tuning_scores(rows(*alone, *other), 0.6)["score"].tolist() == pytest.approx([(0.75 + 0.42) / 2])
    mixed = [{**shared, "grp": "P1", "metric": m, "value": 0.5, "clusterer": ""} for m in ("ilisi", "kbet")]
    assert tuning_scores(rows(*alone, *mixed), 0.6)["score"].tolist() == pytest.approx([0.6 * 0.75 + 0.4 * 0.5])


def test_a_composite_that_was_kept_under_another_weight_is_weighed_anew() -> None:
    """Of two clusterings of one space, in two folds; in tuning the space has no clusterer, in tests it has each."""
    space, first, second = (
        {"silhouette": 0.6, "ilisi": 0.2, "kbet": 0.4},
        {"ari": 0.6, "nmi": 0.3},
        {"ari": 0, "nmi": 0},
    )
    found = [
        *({"role": "tuning", "clusterer": "", "metric": name, "value": value} for name, value in space.items()),
        *({"clusterer": each, "metric": m, "value": v} for each in ("tied", "kmeans") for m, v in space.items()),
    ]
    for role in ("tuning", "test"):
        for clusterer, values in (("tied", first), ("kmeans", second)):
            shared = {"role": role, "clusterer": clusterer, "refined": True}
            found += [{**shared, "metric": name, "value": value} for name, value in values.items()]
            found += [{**shared, "metric": "composite", "value": 9.0}]
    found += [{"metric": "ari", "value": 0.1, "sample": "x", "refined": True}]
    trials = rows(*found)
    weighed = with_composite(trials, 0.25)
    kept = trials["metric"] != "composite"
    pd.testing.assert_frame_equal(weighed[kept], trials[kept])
    # mean(.6, .3, .6) = .5, mean(0, 0, .6) = .2 and mean(.2, .4) = .3
    expected = [0.25 * bio + 0.75 * 0.3 for bio in (0.5, 0.2)] * 2
    assert weighed[~kept]["value"].tolist() == pytest.approx(expected)


def test_the_best_is_taken_per_arm_and_clusterer() -> None:
    scores = pd.DataFrame(
        [("a", "tied", 0.4), ("b", "tied", 0.5), ("a", "kmeans", 0.7), ("b", "kmeans", 0.7)],
        columns=["settings", "clusterer", "score"],
    ).assign(arm="harmony", representation="pca", encoder="")
    chosen = best_choices(scores).set_index("clusterer")["settings"]
    assert chosen.to_dict() == {"tied": "b", "kmeans": "a"}


def test_intervals_are_students() -> None:
    # mean 2, deviation 1, t(.975, 2) = 4.3027, over the root of 3
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.3027 / np.sqrt(3), 2 + 4.3027 / np.sqrt(3)), abs=1e-4)
    assert np.isnan(interval(np.array([1.0]))).all()


def test_seeds_are_averaged_over_folds_before_the_interval() -> None:
    table = rows(
        *(
            {"arm": "harmony", "metric": "ari", "fold": fold, "seed": seed, "value": value}
            for fold, seed, value in ((1, 0, 0.1), (2, 0, 0.3), (1, 1, 0.2), (2, 1, 0.6))
        )
    )
    found = summarise(table).iloc[0]
    assert found["mean"] == pytest.approx(0.3)
    assert found["sd_over_seeds"] == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert (found["n_seeds"], found["n_folds"]) == (2, 2)


def test_signs_are_flipped_in_every_way() -> None:
    # Of 2^3 sign changes, two have a mean as far from 0 as 1, 2, 3 itself.
    assert sign_flip_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # |1 - 2 + 3| = 2: of the sums 6, 4, 2, 0 and their opposites, six are as large.
    assert sign_flip_test(np.array([1.0, -2.0, 3.0])) == pytest.approx(6 / 8)
    assert np.isnan(sign_flip_test(np.array([1.0])))


def test_many_pairs_without_direction_are_not_told_apart() -> None:
    drawn = np.random.default_rng(1).normal(size=200)
    assert sign_flip_test(drawn - drawn.mean()) > 0.9
    assert sign_flip_test(np.abs(drawn)) < 0.001


def of_harmony(*found: tuple[str, int, str, str, float]) -> pd.DataFrame:
    """Tests of Harmony: model, fold, donor, sample and ARI of each."""
    names = ("model", "fold", "donor", "sample", "value")
    shared = {"arm": "harmony", "method": "harmony", "metric": "ari"}
    return rows(*({**shared, **dict(zip(names, each, strict=True))} for each in found))


def test_pairs_are_folds_samples_and_donors_and_the_gain_is_relative() -> None:
    table = of_harmony(
        ("alone", 1, "", "", 0.2),
        ("alone", 2, "", "", 0.4),
        ("aestetik", 1, "", "", 0.5),
        ("aestetik", 2, "", "", 0.6),
        ("alone", 1, "A", "x", 0.1),
        ("aestetik", 1, "A", "x", 0.4),
    )
    found = paired_differences(table).set_index("unit")
    assert found.loc["fold", "difference"] == pytest.approx(0.25)
    assert found.loc["fold", "gain"] == pytest.approx(0.25 / 0.3)
    assert (found.loc["fold", "baseline"], found.loc["fold", "n_pairs"]) == ("alone", 2)
    assert found.loc["sample", "difference"] == found.loc["donor", "difference"] == pytest.approx(0.3)


def test_sections_of_a_donor_are_no_pairs_of_a_test_of_their_own() -> None:
    """Two donors, of whom one has three sections: a donor counts once, by the mean of its sections."""
    gains = {"A": [0.1, 0.2, 0.3], "B": [0.4]}
    table = of_harmony(
        *(
            (model, 1, donor, f"{donor}{n}", 0.1 + gain * (model == "aestetik"))
            for donor, each in gains.items()
            for n, gain in enumerate(each)
            for model in ("alone", "aestetik")
        )
    )
    found = paired_differences(table).set_index("unit")
    assert (found.loc["donor", "n_pairs"], found.loc["donor", "p"]) == (2, pytest.approx(0.5))
    assert found.loc["donor", "difference"] == pytest.approx((0.2 + 0.4) / 2)
    half = (found.loc["donor", "high"] - found.loc["donor", "low"]) / 2
    assert half == pytest.approx(12.7062 * np.std([0.2, 0.4], ddof=1) / np.sqrt(2), rel=1e-4)
    assert found.loc["sample", "n_pairs"] == 4
    assert found.loc["sample", ["p", "low", "high"]].isna().all()


def test_a_single_donor_allows_no_test() -> None:
    table = of_harmony(
        *(
            (model, 1, "A", f"s{n}", 0.1 * n + (model == "aestetik"))
            for n in range(8)
            for model in ("alone", "aestetik")
        )
    )
    assert paired_differences(table)["p"].isna().all()


def test_the_model_is_compared_with_the_means_over_neighbours_of_its_own_method() -> None:
    by_model = {"alone": 0.1, "neighbors": 0.5, "aestetik": 0.4}
    found = paired_differences(
        pd.concat(
            [
                of_harmony(*((model, 1, donor, donor, value) for model, value in by_model.items() for donor in "AB")),
                rows({"arm": "scvi+neighbors", "method": "scvi", "model": "neighbors", "metric": "ari", "value": 0.9}),
            ]
        )
    )
    told = found[found["unit"] == "donor"].set_index(["model", "baseline"])
    assert set(told.index) == {("neighbors", "alone"), ("aestetik", "alone"), ("aestetik", "neighbors")}
    assert told.loc[("aestetik", "neighbors"), "difference"] == pytest.approx(-0.1)
    assert told.loc[("aestetik", "neighbors"), "of_baseline"] == pytest.approx(0.5)
    assert told["p"].tolist() == pytest.approx([0.5] * 3)


def test_pages_quote_gains_over_donors() -> None:
    by_model = {"alone": 0.1, "neighbors": 0.5, "aestetik": 0.4}
    tests = of_harmony(
        *((model, 1, sample[0], sample, by_model[model]) for model in by_model for sample in ("A1", "A2", "B1", "B2"))
    )
    shown = gains_table(paired_differences(tests), "tied")
    assert shown["donors"].tolist() == [2] * 3 and "unit" not in shown
    assert shown[["model", "baseline", "gain"]].to_numpy().tolist() == [
        ["neighbors", "alone", "+400 %"],
        ["aestetik", "alone", "+300 %"],
        ["aestetik", "neighbors", "-20 %"],
    ]

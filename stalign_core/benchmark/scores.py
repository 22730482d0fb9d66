"""From trials to choices, means with intervals, and paired differences.

Tables of trials have the columns `TRIAL_COLUMNS`, one row per trial, clusterer and metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.metrics.composite import BATCH_METRICS, BIO_METRICS, composite_score

TRIAL_COLUMNS: Final = (
    *("trial", "task", "fold", "role", "grp", "donors", "arm", "method", "model", "representation", "encoder"),
    *("settings", "n_domains", "seed", "clusterer", "refined", "donor", "sample", "metric", "value"),
)
COMPOSITE: Final = "composite"
ARM: Final = ["arm", "representation", "encoder"]

LEVEL: Final = 0.95
_OF_SPACE: Final = ("silhouette", *BATCH_METRICS)
"""Of the five that the composite is made of, those that do not depend on the clusterer."""

BASELINES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {"alone": ("neighbors", "aestetik", "reference"), "neighbors": ("aestetik", "reference")}
)
"""What each model is compared with, and which are."""

_OF_MODEL: Final = ("task", "method", "representation", "encoder", "model", "clusterer")

_MOST_EXACT: Final = 16
"""Pairs up to which every sign is tried in the test of differences."""


def tuning_scores(trials: pd.DataFrame, bio_weight: float) -> pd.DataFrame:
    """Composite score of each trial and clustering of a tuning set.

    Where samples are one batch there is no mixing to score, and biological conservation alone decides. Of one label
    there is no silhouette, and conservation is what the others say.

    Parameters
    ----------
    trials
        Of the role ``tuning``; `TRIAL_COLUMNS`.
    bio_weight
        Weight of biological conservation.

    Returns
    -------
    Columns trial, arm, representation, encoder, settings, clusterer, refined, score; mean over groups and seeds.
    """
    pooled = trials[trials["sample"] == ""]
    key = ["trial", "grp", "seed", *ARM, "settings"]
    of_space = pooled[pooled["clusterer"] == ""].pivot_table(index=key, columns="metric", values="value")
    of_domains = pooled[pooled["clusterer"] != ""].pivot_table(
        index=[*key, "clusterer", "refined"], columns="metric", values="value"
    )
    measured = {place: values.dropna().to_dict() for place, values in of_space.iterrows()}
    rows = []
    for place, values in of_domains.iterrows():
        known = {**measured.get(place[: len(key)], {}), **values.dropna().to_dict()}  # type: ignore[index]
        rows.append((*place, _score(known, bio_weight)))  # type: ignore[misc]
    table = pd.DataFrame(rows, columns=[*key, "clusterer", "refined", "score"])
    by = ["trial", *ARM, "settings", "clusterer", "refined"]
    return table.groupby(by, sort=False)["score"].mean().reset_index()


def with_composite(trials: pd.DataFrame, bio_weight: float) -> pd.DataFrame:
    """Trials with each composite score computed anew from the trial's own metrics.

    What a trial keeps was weighed as the study had it then; its key does not know the weight.

    Parameters
    ----------
    trials
        `TRIAL_COLUMNS`, of any role.
    bio_weight
        Weight of biological conservation.
    """
    place = ["trial", "task", "fold", "role", "grp"]
    pooled = trials[trials["sample"] == ""]
    known: dict[tuple[Any, ...], dict[str, float]] = {}
    for names, by in ((BIO_METRICS, [*place, "clusterer", "refined"]), (_OF_SPACE, place)):
        rows = pooled[pooled["metric"].isin(names)]
        for key, metric, value in zip(rows[by].itertuples(index=False), rows["metric"], rows["value"], strict=True):
            known.setdefault(tuple(key), {})[metric] = float(value)
    found = trials.copy()
    rows = pooled[pooled["metric"] == COMPOSITE]
    for position, key in zip(rows.index, rows[[*place, "clusterer", "refined"]].itertuples(index=False), strict=True):
        values = {**known[tuple(key)], **known[tuple(key)[: len(place)]]}
        found.loc[position, "value"] = composite_score(values, bio_weight)
    return found


def _score(values: Mapping[Any, float], bio_weight: float) -> float:
    bio = float(np.mean([values[name] for name in BIO_METRICS if name in values]))
    if any(name not in values for name in BATCH_METRICS):
        return bio
    # Their mean in place of those that cannot be measured leaves the mean as it is.
    return composite_score({**dict.fromkeys(BIO_METRICS, bio), **values}, bio_weight)


def best_choices(scores: pd.DataFrame) -> pd.DataFrame:
    """The highest score of each arm and clusterer; of equal ones the first that was tried.

    Parameters
    ----------
    scores
        From `tuning_scores`.
    """
    by = [*ARM, "clusterer"]
    return scores.loc[scores.groupby(by, sort=False)["score"].idxmax()].reset_index(drop=True)


def summarise(tests: pd.DataFrame) -> pd.DataFrame:
    """Mean of each metric over folds and groups, with an interval over the seeds.

    Parameters
    ----------
    tests
        Rows of the role ``test`` with the chosen settings and refinement; `TRIAL_COLUMNS`.

    Returns
    -------
    Columns task, arm, method, model, representation, encoder, clusterer, metric, mean, low_over_seeds, high_over_seeds,
    sd_over_seeds, n_seeds, n_folds, n_groups. The interval is Student's over the seeds, missing with one; it tells what
    chance in the method does, and not how other donors would turn out.
    """
    pooled = tests[tests["sample"] == ""]
    by = ["task", "arm", "method", "model", "representation", "encoder", "clusterer", "metric"]
    rows = []
    for place, found in pooled.groupby(by, sort=False):
        values = found.groupby("seed")["value"].mean().to_numpy()
        low, high = interval(values)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else np.nan
        counts = (len(values), found["fold"].nunique(), found["grp"].nunique())
        rows.append((*place, float(values.mean()), low, high, deviation, *counts))
    of_seeds = ("low_over_seeds", "high_over_seeds", "sd_over_seeds", "n_seeds")
    return pd.DataFrame(rows, columns=[*by, "mean", *of_seeds, "n_folds", "n_groups"])


def interval(values: NDArray[Any]) -> tuple[float, float]:
    """Student's 95 % interval of a mean; missing for a single value."""
    from scipy import stats

    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def paired_differences(tests: pd.DataFrame, metric: str = "ari") -> pd.DataFrame:
    """Each model against correction alone and against means over neighbours, by method; donors give the test.

    Parameters
    ----------
    tests
        As in `summarise`.
    metric
        What is compared.

    Returns
    -------
    Columns task, method, representation, encoder, model, clusterer, baseline, unit, n_pairs, of_baseline, with_model,
    difference, gain, low, high, p. ``baseline`` is the model that is compared with, of the same method. Pairs are folds
    (pooled metric, mean over groups and seeds), samples (each sample's own metric) or donors (mean of the donor's
    samples). ``gain`` is the difference over ``of_baseline``. Interval and test are of donors only: a donor's sections
    are not independent, and folds share donors. The test flips the signs of the differences, every way up to 16 pairs;
    with n pairs p cannot fall below 2 ** (1 - n).
    """
    found = tests[tests["metric"] == metric]
    compared = [
        (*place, baseline, unit, *_compare(pairs, tested=unit == "donor"))
        for unit, means in _means_by_unit(found).items()
        for baseline, models in BASELINES.items()
        for place, pairs in _pairs(means, baseline, models)
    ]
    columns = [
        *(*_OF_MODEL, "baseline", "unit", "n_pairs"),
        *("of_baseline", "with_model", "difference", "gain", "low", "high", "p"),
    ]
    return pd.DataFrame(compared, columns=columns)


def _means_by_unit(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Mean of a metric per model and unit, the name of the unit in a column ``pair``."""
    pooled, own = found[found["sample"] == ""], found[found["sample"] != ""]
    samples = _mean(own, [*_OF_MODEL, "donor", "sample"])
    means = {
        "fold": _mean(pooled, [*_OF_MODEL, "fold"]),
        "sample": samples.drop(columns="donor"),
        "donor": _mean(samples, [*_OF_MODEL, "donor"]),
    }
    return {unit: table.rename(columns={unit: "pair"}) for unit, table in means.items()}


def _mean(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return rows.groupby(by, sort=False)["value"].mean().reset_index()


def _pairs(means: pd.DataFrame, baseline: str, models: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Of each model and clusterer, its values beside those of its method's baseline."""
    shared = ["task", "method", "representation", "clusterer", "pair"]
    base = means.loc[means["model"] == baseline, [*shared, "value"]]
    both = means[means["model"].isin(models)].merge(base, on=shared, suffixes=("", "_baseline"))
    yield from both.groupby(list(_OF_MODEL), sort=False)  # type: ignore[misc]


def _compare(pairs: pd.DataFrame, *, tested: bool) -> tuple[float, ...]:
    """Number of pairs, both means, difference, gain, interval and p."""
    differences = (pairs["value"] - pairs["value_baseline"]).to_numpy()
    before, after = float(pairs["value_baseline"].mean()), float(pairs["value"].mean())
    gain = (after - before) / before if before > 0 else np.nan
    test = (*interval(differences), sign_flip_test(differences)) if tested else (np.nan,) * 3
    return len(pairs), before, after, after - before, gain, *test


def sign_flip_test(differences: NDArray[Any], n_draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p that paired differences have no direction: share of sign changes with as large a mean.

    Parameters
    ----------
    differences
        (n_pairs,).
    n_draws
        Random sign changes above 16 pairs, the observed one counted with them.
    seed
        Of the random ones.

    Returns
    -------
    p, missing for a single pair, which tells nothing.
    """
    n_pairs = len(differences)
    if n_pairs < 2:
        return np.nan
    if n_pairs <= _MOST_EXACT:
        signs = np.array(list(product((1, -1), repeat=n_pairs)))
    else:
        drawn = np.random.default_rng(seed).choice((1, -1), (n_draws, n_pairs))
        signs = np.concatenate([np.ones((1, n_pairs)), drawn])
    observed = abs(differences.mean())
    return float((np.abs(signs @ differences) / n_pairs >= observed - 1e-12).mean())

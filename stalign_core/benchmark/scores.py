"""From trials to choices, means with intervals, and paired differences.

Tables of trials have the columns `TRIAL_COLUMNS`, one row per trial, clusterer and metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
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

_MOST_EXACT: Final = 16
"""Pairs up to which every sign is tried in the test of differences."""


def tuning_scores(trials: pd.DataFrame, bio_weight: float) -> pd.DataFrame:
    """Composite score of each trial and clustering of a tuning set.

    Where samples are one batch there is no mixing to score, and biological conservation alone decides.

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
    rows = []
    for place, values in of_domains.iterrows():
        known = {**of_space.loc[place[: len(key)]].dropna().to_dict(), **values.dropna().to_dict()}  # type: ignore[index]
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
    if any(name not in values for name in BATCH_METRICS):
        return float(np.mean([values[name] for name in BIO_METRICS if name in values]))
    return composite_score(values, bio_weight)


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
    Columns task, arm, method, model, representation, encoder, clusterer, metric, mean, low, high, sd, n_seeds, n_folds,
    n_groups. The interval is Student's over the seeds, missing with one; it tells what chance in the method does, and
    not how other donors would turn out.
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
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "sd", "n_seeds", "n_folds", "n_groups"])


def interval(values: NDArray[Any]) -> tuple[float, float]:
    """Student's 95 % interval of a mean; missing for a single value."""
    from scipy import stats

    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def paired_differences(tests: pd.DataFrame, metric: str = "ari") -> pd.DataFrame:
    """Each model against correction alone, by method: differences over folds and over samples, with a test.

    Parameters
    ----------
    tests
        As in `summarise`.
    metric
        What is compared.

    Returns
    -------
    Columns task, method, representation, encoder, model, clusterer, unit, n_pairs, alone, with_model, difference, gain,
    low, high, p. Pairs are folds (pooled metric, mean over groups and seeds) or samples (each sample's own metric).
    ``gain`` is the difference over ``alone``. The test flips the signs of the differences, every way up to 16 pairs;
    with n pairs p cannot fall below 2 ** (1 - n).
    """
    found = tests[tests["metric"] == metric]
    rows = []
    for unit, values in (("fold", found[found["sample"] == ""]), ("sample", found[found["sample"] != ""])):
        means = values.groupby(["task", "method", "representation", "encoder", "model", "clusterer", unit], sort=False)[
            "value"
        ].mean()
        table = means.reset_index()
        alone = table[table["model"] == "alone"]
        for place, other in table[table["model"] != "alone"].groupby(
            ["task", "method", "representation", "encoder", "model", "clusterer"], sort=False
        ):
            task, method, representation, _, _, clusterer = place  # type: ignore[misc]
            base = alone[
                (alone["task"] == task)
                & (alone["method"] == method)
                & (alone["representation"] == representation)
                & (alone["clusterer"] == clusterer)
            ]
            pairs = other.merge(base, on=unit, suffixes=("", "_alone"))
            if pairs.empty:
                continue
            differences = (pairs["value"] - pairs["value_alone"]).to_numpy()
            before, after = float(pairs["value_alone"].mean()), float(pairs["value"].mean())
            gain = (after - before) / before if before > 0 else np.nan
            low, high = interval(differences)
            p = sign_flip_test(differences)
            rows.append((*place, unit, len(pairs), before, after, after - before, gain, low, high, p))
    columns = [
        *("task", "method", "representation", "encoder", "model", "clusterer", "unit", "n_pairs"),
        *("alone", "with_model", "difference", "gain", "low", "high", "p"),
    ]
    return pd.DataFrame(rows, columns=columns)


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

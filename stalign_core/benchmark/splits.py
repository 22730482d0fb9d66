"""Outer folds of the nested cross-validation, as a table: spots in samples in donors, and donors never divided.

One row per fold, integration and sample. Samples of one `group` are integrated jointly: in the single-donor task a
group is a donor, in the multi-donor task all donors of a fold's role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import pandas as pd

from stalign_core.errors import SettingsError

COLUMNS: Final = ("task", "fold", "role", "group", "donor", "sample")
SINGLE: Final = "single_donor"
MULTI: Final = "multi_donor"

Donors = Mapping[str, Sequence[str]]
"""Samples of each donor."""


def single_donor_splits(donors: Donors) -> pd.DataFrame:
    """Each donor tunes once, alone; every other donor is then a test of its own.

    Parameters
    ----------
    donors
        Samples of each donor; two donors at least.

    Returns
    -------
    Columns `COLUMNS`, as many folds as donors, numbered from 1.

    Raises
    ------
    SettingsError
        If there are fewer than two donors.
    """
    _check_enough(donors, 2, SINGLE)
    rows = [
        (SINGLE, fold, "tuning" if donor == tuning else "test", donor, donor, sample)
        for fold, tuning in enumerate(sorted(donors), start=1)
        for donor in sorted(donors)
        for sample in sorted(donors[donor])
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def multi_donor_splits(donors: Donors, n_folds: int = 2) -> pd.DataFrame:
    """Donors are dealt into parts; each part tunes once, jointly, and the donors of all others are tested jointly.

    Parameters
    ----------
    donors
        Samples of each donor; at least two per part, so that each integration holds several donors.
    n_folds
        Number of parts; with 2, one half tunes and the other tests, both ways.

    Returns
    -------
    Columns `COLUMNS`, folds numbered from 1. Donors are dealt in the order of their names.

    Raises
    ------
    SettingsError
        If there are fewer than two folds, or two donors per part.
    """
    if n_folds < 2:
        raise SettingsError("n_folds", f"is {n_folds}", expected="at least 2, or no donor is left to test")
    _check_enough(donors, 2 * n_folds, MULTI)
    names = sorted(donors)
    bounds = [len(names) * part // n_folds for part in range(n_folds + 1)]
    rows = []
    for fold, (start, stop) in enumerate(pairwise(bounds), start=1):
        tuning = set(names[start:stop])
        for donor in names:
            role = "tuning" if donor in tuning else "test"
            rows += [(MULTI, fold, role, role, donor, sample) for sample in sorted(donors[donor])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def untuned_splits(donors: Donors, task: str) -> pd.DataFrame:
    """One fold in which every donor is tested and none tunes: for default settings, where donors are too few to tune.

    Parameters
    ----------
    donors
        Samples of each donor.
    task
        ``"single_donor"``: each donor is a group of its own; ``"multi_donor"``: all are one.

    Returns
    -------
    Columns `COLUMNS`.

    Raises
    ------
    SettingsError
        If the multi-donor task has one donor only.
    """
    _check_enough(donors, 1 if task == SINGLE else 2, task)
    rows = [
        (task, 1, "test", donor if task == SINGLE else "test", donor, sample)
        for donor in sorted(donors)
        for sample in sorted(donors[donor])
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def plan_splits(donors: Donors, tasks: Sequence[str], n_folds: int, tune: bool) -> tuple[pd.DataFrame, list[str]]:
    """Outer folds of every task that these donors allow.

    Parameters
    ----------
    donors
        Samples of each donor that can be scored.
    tasks
        Of ``"single_donor"`` and ``"multi_donor"``.
    n_folds
        Of the multi-donor task.
    tune
        Whether hyperparameters are to be searched.

    Returns
    -------
    The table, and one line for each task that is left out or not tuned, with the reason.

    Raises
    ------
    SettingsError
        If no task is possible.
    """
    tables, notes = [], []
    for task in tasks:
        needed = 2 if task == SINGLE else 2 * n_folds
        if tune and len(donors) >= needed:
            tables.append(single_donor_splits(donors) if task == SINGLE else multi_donor_splits(donors, n_folds))
        elif len(donors) >= (1 if task == SINGLE else 2):
            reason = f"{len(donors)} donors, {needed} needed" if tune else "benchmark.tune is false"
            notes.append(f"{task}: not tuned ({reason}): default settings are tested on every donor")
            tables.append(untuned_splits(donors, task))
        else:
            notes.append(f"{task}: left out, because there is one donor only")
    if not tables:
        raise SettingsError("benchmark.tasks", "; ".join(notes) or "is empty", expected="a task that the donors allow")
    splits = pd.concat(tables, ignore_index=True)
    check_splits(splits)
    return splits, notes


def check_splits(splits: pd.DataFrame) -> None:
    """Refuse a table by which a donor, or a sample, both tunes and is tested within a fold.

    Raises
    ------
    SettingsError
        Naming the first task and fold at fault, and what leaks.
    """
    for (task, fold), rows in splits.groupby(["task", "fold"], sort=True):
        for column in ("donor", "sample"):
            sides = {role: set(part[column]) for role, part in rows.groupby("role")}
            both = sides.get("tuning", set()) & sides.get("test", set())
            if both:
                raise SettingsError(
                    f"splits, {task}, fold {fold}",
                    f"{column} {min(both)} both tunes and is tested",
                    expected="tuning donors that are in no test",
                )


def _check_enough(donors: Donors, least: int, task: str) -> None:
    if len(donors) < least:
        raise SettingsError(f"task {task}", f"has {len(donors)} donors", expected=f"at least {least}")

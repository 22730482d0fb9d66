"""Tables of the benchmark in ``metrics.duckdb``: folds, trials, what was chosen, and what all folds say together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from stalign_core.store import Artifact

BENCHMARK_SCHEMA: Final = """
create table trials (
    trial varchar, task varchar, fold integer, role varchar, grp varchar, donors varchar, arm varchar, method varchar,
    model varchar, representation varchar, encoder varchar, settings varchar, n_domains integer, seed bigint,
    clusterer varchar, refined boolean, donor varchar, sample varchar, metric varchar, value double);
create table splits (
    task varchar, fold integer, role varchar, grp varchar, donor varchar, sample varchar);
create table chosen (
    task varchar, fold integer, arm varchar, representation varchar, encoder varchar, clusterer varchar,
    settings varchar, refined boolean, score double);
create table summary (
    task varchar, arm varchar, method varchar, model varchar, representation varchar, encoder varchar,
    clusterer varchar, metric varchar, mean double, low_over_seeds double, high_over_seeds double,
    sd_over_seeds double, n_seeds integer, n_folds integer, n_groups integer);
create table differences (
    task varchar, method varchar, representation varchar, encoder varchar, model varchar, clusterer varchar,
    baseline varchar, unit varchar, n_pairs integer, of_baseline double, with_model double, difference double,
    gain double, low double, high double, p double);
"""
"""The word group, which SQL has for itself, is ``grp`` here."""

_TABLES: Final = ("splits", "trials", "chosen", "summary", "differences")


def benchmark_rows(artifact: Artifact) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each table of a benchmark's results, with its rows."""
    for table in _TABLES:
        yield table, artifact.table(f"{table}.parquet").rename(columns={"group": "grp"})

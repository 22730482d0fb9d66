"""Tables of what domains mean, for DuckDB and as CSV files: markers, programs, abundance, pathway activity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from stalign_assets.planning import Freshness
from stalign_assets.recipes.downstream import ABUNDANCE, ACTIVITY, MARKERS
from stalign_assets.results.of_domains import made_of_domains
from stalign_core.errors import ArtifactError
from stalign_core.files import replace_file
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Artifact

LISTED_MARKERS: Final = 100
"""Genes per domain that the tables list; the artifact `domain_markers` holds all."""

DOWNSTREAM_SCHEMA: Final = """
create table markers (
    variant varchar, domain varchar, gene varchar, symbol varchar, log2_fold_change double, t double, p double,
    q double, n_donors integer, mean_expression double, mean_elsewhere double, share_of_spots double,
    share_elsewhere double, is_marker boolean, input_key varchar);
create table programs (
    variant varchar, domain varchar, gene varchar, symbol varchar, n_donors integer, n_significant integer,
    program varchar, donors varchar, input_key varchar);
create table abundance (
    variant varchar, sample varchar, donor varchar, condition varchar, domain varchar, n_spots integer, share double,
    input_key varchar);
create table abundance_differences (
    variant varchar, domain varchar, condition varchar, reference varchar, design varchar, n_donors integer,
    n_donors_reference integer, share double, share_reference double, log_ratio double, t double, p double, q double,
    input_key varchar);
create table activities (
    variant varchar, domain varchar, pathway varchar, activity double, n_donors integer, t double, p double, q double,
    input_key varchar);
"""


@dataclass(frozen=True)
class _Kept:
    """A table that is made of a file of an artifact."""

    table: str
    file: str
    rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows


def listed_markers(markers: pd.DataFrame) -> pd.DataFrame:
    """The first genes of each domain that it has more of than the rest."""
    return markers[markers["log2_fold_change"] > 0].groupby("domain", sort=False).head(LISTED_MARKERS)


_TABLES_OF: Final[Mapping[str, tuple[_Kept, ...]]] = {
    MARKERS: (_Kept("markers", "markers.parquet", listed_markers), _Kept("programs", "programs.parquet")),
    ABUNDANCE: (_Kept("abundance", "abundance.parquet"), _Kept("abundance_differences", "differences.parquet")),
    ACTIVITY: (_Kept("activities", "activities.parquet"),),
}


def is_downstream(recipe: Recipe) -> bool:
    """Whether tables are made of the recipe's artifact."""
    return recipe.variant is not None and recipe.path[-1] in _TABLES_OF


def downstream_rows(artifact: Artifact) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tables of an artifact, by name, with the variant and the input key."""
    _, variant, kind = artifact.manifest.asset.split("/")
    for kept in _TABLES_OF[kind]:
        if kept.file in artifact.manifest.files:
            rows = kept.rows(artifact.table(kept.file))
            yield kept.table, rows.assign(variant=variant, input_key=artifact.manifest.input_key)


def write_downstream_tables(study: Study, recipes: Mapping[str, Recipe]) -> list[Path]:
    """Write ``reports/<table>_cohort_<variant>.csv`` of what is up to date, and remove those of earlier domains.

    Of domains in force that wait for a run, since a donor's files changed for one, the tables stay as they were
    written; so they do where their artifact turns out to be damaged meanwhile.
    """
    freshness = Freshness(study, recipes)
    study.reports.mkdir(exist_ok=True)
    written: list[Path] = []
    kept: list[Path] = []
    for asset, recipe in recipes.items():
        told = _told_of_domains(study, recipes, recipe) if is_downstream(recipe) else None
        if told is None:
            continue
        if not freshness.holds(asset, UNPARTITIONED):
            kept += _standing(study, recipe, told)
            continue
        for path, content in _csv_files(study, recipe, told):
            replace_file(path, content)
            written.append(path)
    for path in set(_files(study)) - {*written, *kept}:
        path.unlink(missing_ok=True)
    return written


def _told_of_domains(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe) -> Artifact | None:
    """The recipe's artifact in force, if it can be read and tells of the variant's domains in force; else None."""
    try:
        domains = study.store.current(f"cohort/{recipe.variant}/domains", UNPARTITIONED)
        return None if domains is None else made_of_domains(study, recipes, recipe.asset, domains)
    except ArtifactError:
        return None


def _standing(study: Study, recipe: Recipe, artifact: Artifact) -> list[Path]:
    """Files that are as they would be written of an artifact; all of its tables if it is damaged."""
    try:
        files = list(_csv_files(study, recipe, artifact))
    except ArtifactError:
        return [study.reports / table_file(kept.table, str(recipe.variant)) for kept in _TABLES_OF[recipe.path[-1]]]
    return [path for path, content in files if path.is_file() and path.read_bytes() == content]


def _csv_files(study: Study, recipe: Recipe, artifact: Artifact) -> Iterator[tuple[Path, bytes]]:
    """Where each table of an artifact belongs, and what stands in it."""
    for table, rows in downstream_rows(artifact):
        content = rows.drop(columns=["variant", "input_key"]).to_csv(index=False)
        yield study.reports / table_file(table, str(recipe.variant)), content.encode()


def table_file(table: str, variant: str) -> str:
    """Name of the CSV file of a table of a variant."""
    return f"{table}_cohort_{variant}.csv"


def _files(study: Study) -> Iterator[Path]:
    """Where the tables of the study's variants lie, as far as there are any."""
    for variant in study.settings.variants:
        for kept in chain.from_iterable(_TABLES_OF.values()):
            yield study.reports / table_file(kept.table, variant)

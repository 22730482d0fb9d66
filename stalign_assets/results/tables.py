"""``metrics.duckdb``: a derived cache with one writer, rebuilt beside the old file and put in its place at once.

Nothing is lost with it: every row comes from an artifact of the store.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from stalign_assets.recipes.samples import RAW
from stalign_assets.results.benchmark_tables import BENCHMARK_SCHEMA, benchmark_rows
from stalign_assets.results.downstream_tables import DOWNSTREAM_SCHEMA, downstream_rows, is_downstream
from stalign_assets.results.of_domains import made_of_domains
from stalign_assets.study import Study
from stalign_assets.wanted import partitions_in_force, reason_left_out
from stalign_core.errors import ArtifactError, MissingArtifactError, StudyError
from stalign_core.store import Artifact
from stalign_core.store.hashing import canonical_json, digest
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import duckdb

    from stalign_assets.recipes.recipe import Recipe

BENCHMARK_RESULTS: Final = "benchmark/results"

TABLES_VERSION: Final = 7
METRIC_COLUMNS: Final = (
    "run_id",
    "input_key",
    "scope",
    "variant",
    "representation",
    "encoder",
    "method",
    "step",
    "clusterer",
    "n_domains",
    "seed",
    "donor",
    "sample",
    "metric",
    "value",
)

_SCHEMA: Final = """
create table metrics (
    run_id varchar, input_key varchar, scope varchar, variant varchar, representation varchar, encoder varchar,
    method varchar, step varchar, clusterer varchar, n_domains integer, seed bigint, donor varchar, sample varchar,
    metric varchar, value double);
create table samples (
    sample varchar, donor varchar, spots integer, genes integer, genes_detected integer,
    median_counts_per_spot double, spots_annotated integer, image varchar, problems varchar, input_key varchar);
create table domains (
    scope varchar, variant varchar, donor varchar, sample varchar, barcode varchar, domain varchar,
    domain_unrefined varchar, input_key varchar);
create table lineage (
    asset varchar, partition varchar, input_key varchar, data_version varchar, input_asset varchar,
    input_partition varchar, input_input_key varchar, input_data_version varchar, source_path varchar,
    source_sha256 varchar, source_size bigint, run_id varchar, created varchar, is_current boolean);
create table artifacts (
    asset varchar, partition varchar, input_key varchar, data_version varchar, code_version integer, settings json,
    seed bigint, donors varchar[], donors_left_out json, packages json, determinism varchar, run_id varchar,
    created varchar, seconds double, is_current boolean);
create table about (name varchar, value varchar);
"""


@dataclass(frozen=True)
class TablesBuilt:
    """What a rebuild did."""

    input_key: str
    reused: bool
    rows: Mapping[str, int]
    left_out: tuple[str, ...]
    """One line per artifact that cannot be read any more."""


def rebuild_tables(study: Study, recipes: Mapping[str, Recipe]) -> TablesBuilt:
    """Rebuild ``metrics.duckdb`` from the store, unless it holds the artifacts now in force already.

    An artifact that was set aside, or a damaged one that is in force no longer, is left out and named.

    Raises
    ------
    ArtifactError
        If an artifact in force is damaged.
    StudyError
        If another program holds the file open for writing.
    """
    left_out: list[ArtifactError] = []
    everything = list(study.store.artifacts(left_out.append))
    in_force = _artifacts_in_force(study, recipes, left_out)
    current = {_identity(artifact) for artifact in in_force}
    reasons = _reasons_left_out(study, recipes, in_force)
    keys = sorted(artifact.manifest.input_key for artifact in everything)
    key = digest([TABLES_VERSION, sorted(current), sorted(reasons.items()), keys])
    lines = tuple(error.line for error in left_out)
    if key_of_tables(study.metrics_path) == key:
        return TablesBuilt(key, True, _row_counts(study.metrics_path), lines)
    temporary = study.metrics_path.with_name(f".{study.metrics_path.name}.{uuid.uuid4().hex}")
    try:
        _write(temporary, study, recipes, everything, in_force, reasons, key)
        _sync(temporary)
        temporary.replace(study.metrics_path)
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(temporary.name + ".wal").unlink(missing_ok=True)
    return TablesBuilt(key, False, _row_counts(study.metrics_path), lines)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection that can reach no other file and no network.

    Raises
    ------
    StudyError
        If there is no file yet, or it is no database of this version.
    """
    import duckdb

    if not path.is_file():
        raise StudyError(str(path), "does not exist yet", remedy="run 'stalign run STUDY' first")
    try:
        return duckdb.connect(
            str(path), read_only=True, config={"enable_external_access": "false", "lock_configuration": "true"}
        )
    except duckdb.Error as error:
        raise StudyError(
            str(path),
            f"cannot be opened ({str(error).splitlines()[0]})",
            remedy="delete it and run 'stalign run STUDY': it is rebuilt from the store",
        ) from None


def query(path: Path, sql: str, **values: str) -> pd.DataFrame:
    """The result of one SQL statement on a read-only connection; `values` stand where it says ``$name``.

    Raises
    ------
    StudyError
        If the statement fails, writes, or reaches outside.
    """
    import duckdb

    with connect(path) as connection:
        try:
            return connection.execute(sql, values or None).df()
        except duckdb.Error as error:
            raise StudyError("SQL", str(error).splitlines()[0], remedy='see the tables with "show tables"') from None


def _artifacts_in_force(study: Study, recipes: Mapping[str, Recipe], left_out: list[ArtifactError]) -> list[Artifact]:
    found = []
    for asset, recipe in recipes.items():
        for partition in partitions_in_force(study, recipe):
            try:
                artifact = study.store.current(asset, partition)
            except MissingArtifactError as error:
                left_out.append(error)
                continue
            if artifact is not None:
                found.append(artifact)
    return found


def key_of_tables(path: Path) -> str:
    """What stands for all that the tables hold; empty where there are none of this version."""
    if not path.is_file():
        return ""
    try:
        found = query(path, "select value from about where name = 'input_key'")
    except StudyError:
        return ""
    return str(found["value"].iloc[0]) if len(found) else ""


def _row_counts(path: Path) -> dict[str, int]:
    with connect(path) as connection:
        return {
            name: int(connection.execute(f'select count(*) from "{name}"').fetchone()[0])  # type: ignore[index]
            for name in ("metrics", "samples", "domains", "lineage")
        }


def _write(
    path: Path,
    study: Study,
    recipes: Mapping[str, Recipe],
    everything: list[Artifact],
    in_force: list[Artifact],
    reasons: Mapping[str, str],
    key: str,
) -> None:
    import duckdb

    current = {_identity(artifact) for artifact in in_force}
    accepted = {UNPARTITIONED, *(donor for donor, reason in reasons.items() if not reason)}
    of_variants = {asset for asset, recipe in recipes.items() if recipe.variant is not None}
    with duckdb.connect(str(path)) as connection:
        connection.execute("begin")
        connection.execute(_SCHEMA + DOWNSTREAM_SCHEMA + BENCHMARK_SCHEMA)
        for artifact in in_force:
            asset = artifact.manifest.asset
            if asset == RAW:
                _append(connection, "samples", _sample_rows(artifact, reasons[artifact.manifest.partition]))
            elif asset == BENCHMARK_RESULTS:
                for table, rows in benchmark_rows(artifact):
                    _append(connection, table, rows)
            elif asset not in of_variants or artifact.manifest.partition not in accepted:
                continue
            elif recipes[asset].path[-1] == "metrics":
                _append(connection, "metrics", _metric_rows(study, artifact))
            elif recipes[asset].path[-1] == "domains":
                _append(connection, "domains", _domain_rows(artifact))
            elif is_downstream(recipes[asset]) and _is_of_domains(study, recipes, artifact, in_force):
                for table, rows in downstream_rows(artifact):
                    _append(connection, table, rows)
        _append(connection, "lineage", pd.DataFrame(_lineage_rows(everything, current)))
        _append(connection, "artifacts", pd.DataFrame(_artifact_rows(everything, current)))
        _append(connection, "about", pd.DataFrame({"name": ["input_key"], "value": [key]}))
        connection.execute("commit")


def _reasons_left_out(study: Study, recipes: Mapping[str, Recipe], in_force: list[Artifact]) -> dict[str, str]:
    """Of each donor that was read, why it is left out; empty for those that take part.

    What was found of one that is left out holds no longer, also where its samples in force were read earlier.
    """
    read = [artifact.manifest.partition for artifact in in_force if artifact.manifest.asset == RAW]
    return {donor: reason_left_out(study, recipes, donor) or "" for donor in read}


def _is_of_domains(study: Study, recipes: Mapping[str, Recipe], artifact: Artifact, in_force: list[Artifact]) -> bool:
    """Whether it tells of the domains that the tables hold, and not of an earlier integration's."""
    domains = f"cohort/{recipes[artifact.manifest.asset].variant}/domains"
    return any(
        made_of_domains(study, recipes, artifact.manifest.asset, each) is not None
        for each in in_force
        if each.manifest.asset == domains
    )


def _append(connection: duckdb.DuckDBPyConnection, table: str, rows: pd.DataFrame) -> None:
    if len(rows):
        connection.register("appended", rows)
        connection.execute(f'insert into "{table}" by name select * from appended')
        connection.unregister("appended")


def _identity(artifact: Artifact) -> tuple[str, str, str]:
    manifest = artifact.manifest
    return manifest.asset, manifest.partition, manifest.input_key


def _sample_rows(artifact: Artifact, problems: str) -> pd.DataFrame:
    summary = artifact.manifest.summary
    columns = ("spots", "genes", "genes_detected", "median_counts_per_spot", "spots_annotated", "image")
    rows = [
        {"sample": sample, "donor": artifact.manifest.partition, **{name: facts[name] for name in columns}}
        for sample, facts in summary["samples"].items()
    ]
    return pd.DataFrame(rows).assign(problems=problems, input_key=artifact.manifest.input_key)


def _metric_rows(study: Study, artifact: Artifact) -> pd.DataFrame:
    scope, variant, _ = artifact.manifest.asset.split("/")
    return artifact.table("metrics.parquet").assign(
        run_id=artifact.manifest.run_id,
        input_key=artifact.manifest.input_key,
        scope=scope,
        variant=variant,
        **_ingredients(study, artifact, variant),
        n_domains=artifact.manifest.summary["n_domains_requested"],
        seed=artifact.manifest.seed,
    )[list(METRIC_COLUMNS)]


def _ingredients(study: Study, artifact: Artifact, variant: str) -> dict[str, str]:
    """Representation, encoder and method that the artifact was made with, which the settings may name otherwise today.

    Artifacts made before these were kept in the manifest are taken to be made with today's.
    """
    kept = artifact.manifest.summary.get("variant")
    if kept is None:
        chosen = study.settings.variants[variant]
        kept = {"representation": chosen.representation, "encoder": chosen.encoder, "method": chosen.correction}
    return {name: kept[name] for name in ("representation", "encoder", "method")}


def _domain_rows(artifact: Artifact) -> pd.DataFrame:
    scope, variant, _ = artifact.manifest.asset.split("/")
    return artifact.table("domains.parquet").assign(scope=scope, variant=variant, input_key=artifact.manifest.input_key)


def _lineage_rows(everything: list[Artifact], current: set[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """One row per artifact and input, and one per artifact and raw file."""
    for artifact in everything:
        manifest = artifact.manifest
        own = {
            "asset": manifest.asset,
            "partition": manifest.partition,
            "input_key": manifest.input_key,
            "data_version": manifest.data_version,
            "run_id": manifest.run_id,
            "created": manifest.created,
            "is_current": _identity(artifact) in current,
        }
        for record in manifest.inputs:
            yield {
                **own,
                "input_asset": record.asset,
                "input_partition": record.partition,
                "input_input_key": record.input_key,
                "input_data_version": record.data_version,
            }
        for source in manifest.sources:
            yield {**own, "source_path": source.path, "source_sha256": source.sha256, "source_size": source.size}


def _artifact_rows(everything: list[Artifact], current: set[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """One row per artifact: what it was made with, besides the inputs of `lineage`."""
    for artifact in everything:
        manifest = artifact.manifest
        yield {
            "asset": manifest.asset,
            "partition": manifest.partition,
            "input_key": manifest.input_key,
            "data_version": manifest.data_version,
            "code_version": manifest.code_version,
            "settings": canonical_json(manifest.settings),
            "seed": manifest.seed,
            "donors": list(manifest.donors),
            "donors_left_out": canonical_json(manifest.donors_left_out),
            "packages": canonical_json(manifest.packages),
            "determinism": manifest.determinism,
            "run_id": manifest.run_id,
            "created": manifest.created,
            "seconds": manifest.seconds,
            "is_current": _identity(artifact) in current,
        }


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

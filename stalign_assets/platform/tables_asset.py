"""The asset `metrics_tables`: the one writer of the study's DuckDB file."""

from collections.abc import Collection, Mapping
from itertools import product
from typing import Final

import dagster as dg

from stalign_assets import reporting
from stalign_assets.locking import using_store
from stalign_assets.measure import Measure
from stalign_assets.platform.assets import failing_in_one_line
from stalign_assets.platform.checks import STEPS
from stalign_assets.platform.executors.tags import op_tags_of
from stalign_assets.platform.metadata import cost_metadata
from stalign_assets.platform.resources import StudyResource
from stalign_assets.pools import DUCKDB_POOL
from stalign_assets.recipes.graph import SCOPES, recipes_of
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.results.downstream_tables import is_downstream, write_downstream_tables
from stalign_assets.results.headline import write_domain_tables
from stalign_assets.results.tables import BENCHMARK_RESULTS, TABLES_VERSION, connect, rebuild_tables
from stalign_assets.study import Study
from stalign_assets.wanted import reason_left_out
from stalign_core.settings import ExecutionSettings

METRICS_TABLES: Final = "metrics_tables"


def tables_asset(recipes: Mapping[str, Recipe], execution: ExecutionSettings) -> dg.AssetsDefinition:
    """The asset that rebuilds ``metrics.duckdb`` from every metrics artifact in force, and the tables of domains."""

    @dg.asset(
        key=METRICS_TABLES,
        deps=[recipe.path for recipe in recipes.values() if _is_told(recipe)],
        group_name="results",
        description="metrics.duckdb: metrics, samples, domains, markers, abundance and lineage; reports/*.csv.",
        code_version=str(TABLES_VERSION),
        pool=DUCKDB_POOL,
        op_tags=op_tags_of(DUCKDB_POOL, execution),
        kinds={"duckdb"},
    )
    def metrics_tables(context: dg.AssetExecutionContext, study: StudyResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with failing_in_one_line(), Measure() as measure:
            opened = study.of_run(context.run_id)
            watcher = reporting.watch(METRICS_TABLES, "", context.log.info)
            with opened.store.remembering():
                with using_store(opened, watcher.say):
                    known = recipes_of(opened.settings)
                    built = rebuild_tables(opened, known)
                write_domain_tables(opened, SCOPES, tuple(opened.settings.variants), _donors_told(opened, known))
                write_downstream_tables(opened, known)
            for line in built.left_out:
                watcher.say(f"{reporting.WARNING} {line}; it is left out of the tables")
            watcher.said_done(f"{METRICS_TABLES}: {'reused' if built.reused else 'rebuilt'}")
        return dg.MaterializeResult(
            metadata={
                "reused": built.reused,
                "left_out": dg.MetadataValue.json(list(built.left_out)),
                "file": dg.MetadataValue.path(str(opened.metrics_path)),
                **{f"rows_{name}": count for name, count in built.rows.items()},
                **cost_metadata(measure),
            },
            data_version=dg.DataVersion(built.input_key),
        )

    return metrics_tables


def _is_told(recipe: Recipe) -> bool:
    """Whether a table holds something of the recipe's artifact."""
    if recipe.variant is None:
        return recipe.asset == BENCHMARK_RESULTS
    return recipe.path[-1] == "metrics" or is_downstream(recipe)


def _donors_told(study: Study, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
    """Donors whose domains the tables of domains hold: those that are not left out."""
    return tuple(donor for donor in study.cohort.donors if reason_left_out(study, recipes, donor) is None)


def tables_check(recipes: Mapping[str, Recipe]) -> dg.AssetChecksDefinition:
    """Every variant has metrics of both steps in each scope that was run."""

    @dg.asset_check(
        asset=METRICS_TABLES,
        name="every_method_has_metrics",
        description="Every variant has metrics of corrected features and of AESTETIK in each scope that was run",
    )
    def every_method_has_metrics(context: dg.AssetCheckExecutionContext, study: StudyResource) -> dg.AssetCheckResult:
        with failing_in_one_line():
            opened = study.of_run(context.run.run_id)
            with connect(opened.metrics_path) as connection:
                found = set(connection.execute("select distinct scope, variant, step from metrics").fetchall())
        missing = missing_metrics(recipes, found)
        # A run may be asked for some variants alone, so what is missing is no error.
        return dg.AssetCheckResult(
            passed=bool(found) and not missing, severity=dg.AssetCheckSeverity.WARN, metadata={"missing": missing}
        )

    return every_method_has_metrics


def missing_metrics(recipes: Mapping[str, Recipe], found: Collection[tuple[str, str, str]]) -> list[str]:
    """``scope/variant/step`` that is not among `found`, for every variant and each scope that has any metrics."""
    variants = {recipe.variant for recipe in recipes.values() if recipe.variant is not None}
    expected = product({scope for scope, _, _ in found}, variants, STEPS)
    return sorted("/".join(row) for row in expected if row not in found)

"""Dagster assets from recipes: the only place where a recipe meets Dagster."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from stalign_assets import reporting
from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import using_store
from stalign_assets.materialise import Materialisation, Step, materialise
from stalign_assets.platform.executors.tags import op_tags_of
from stalign_assets.platform.metadata import metadata_of
from stalign_assets.platform.partitions import partitions_of
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.study import Study
from stalign_assets.threads import limit_threads
from stalign_core.errors import StalignError, StudyError
from stalign_core.settings import ExecutionSettings
from stalign_core.store.store import UNPARTITIONED


def asset_of(recipe: Recipe, recipes: Mapping[str, Recipe], execution: ExecutionSettings) -> dg.AssetsDefinition:
    """The Dagster asset that materialises `recipe`; its pool's limit is kept as the engine of `execution` can."""

    @dg.asset(
        key=recipe.path,
        deps=[recipes[declared.asset].path for declared in recipe.inputs],
        partitions_def=partitions_of(recipe.partitioning),
        group_name=recipe.group,
        description=recipe.description,
        code_version=str(recipe.code_version),
        pool=recipe.pool,
        op_tags=op_tags_of(recipe.pool, execution),
        kinds=set(recipe.kinds),
    )
    def materialise_recipe(context: dg.AssetExecutionContext, study: StudyResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        partition = context.partition_key if context.has_partition_key else UNPARTITIONED
        with failing_in_one_line():
            result = _materialise(context, study, recipe.asset, partition)
        return dg.MaterializeResult(
            metadata=metadata_of(result),
            data_version=dg.DataVersion(result.artifact.manifest.data_version),
        )

    return materialise_recipe


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """Turn an error a user can act on into a failure of one line that is not retried."""
    try:
        with naming_full_disk("the study's disk", "this step could not end"):
            yield
    except StalignError as error:
        raise dg.Failure(description=error.line, metadata={"error": error.line}, allow_retries=False) from None


def _earlier_seconds(study: Study, asset: str, partition: str) -> float:
    """What the artifact in force took; 0 where there is none that can be read."""
    try:
        current = study.store.current(asset, partition)
    except StalignError:
        return 0.0
    return 0.0 if current is None else current.manifest.seconds


def _materialise(
    context: dg.AssetExecutionContext,
    resource: StudyResource,
    asset: str,
    partition: str,
) -> Materialisation:
    study = resource.of_run(context.run_id)
    # The settings that the run began with decide, not those this process was started with: key and content agree.
    recipes = recipes_of(study.settings)
    if asset not in recipes:
        raise StudyError(asset, "is not an asset of the study's settings any more", remedy="reload the definitions")
    watcher = reporting.watch(asset, partition, context.log.info, _earlier_seconds(study, asset, partition))
    limit_threads(study.settings.execution.threads)
    step = Step(study, recipes, recipes[asset], partition, context.run_id, watcher.progress, watcher.say)
    with using_store(study, watcher.say):
        result = materialise(step)
    watcher.done(result)
    return result

"""Asset checks: each reads the artifact in force and says what does not hold.

A blocking check stops later steps of the same run; the cohort reads the verdict on raw samples itself, because
Dagster records an asset as materialised whatever its checks say.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import dagster as dg
import numpy as np
import pandas as pd

from stalign_assets.platform.assets import failing_in_one_line
from stalign_assets.platform.partitions import partitions_of
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.graph import SCOPES
from stalign_assets.recipes.recipe import Recipe
from stalign_core.errors import ArtifactError
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED

STEPS: Final = ("correction", "aestetik")
"""What is measured of a variant: its corrected features alone, and the AESTETIK embedding."""

METRICS_OF_EMBEDDING: Final = ("silhouette", "ilisi", "kbet")
METRICS_OF_DOMAINS: Final = ("ari", "nmi", "chaos", "pas")


@dataclass(frozen=True)
class CheckRule:
    """A check of an asset: `faults` yields one line per fault it finds."""

    name: str
    description: str
    faults: Callable[[Artifact], Iterator[str]]
    blocking: bool = True


def check_of(recipe: Recipe, rule: CheckRule) -> dg.AssetChecksDefinition:
    """The Dagster check of `rule` on the asset of `recipe`, partitioned as the asset is."""

    with warnings.catch_warnings():
        # Partitioned checks are what guards one donor from another; Dagster still calls them a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _define_check(recipe, rule)


def _define_check(recipe: Recipe, rule: CheckRule) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=recipe.path,
        name=rule.name,
        description=rule.description,
        blocking=rule.blocking,
        partitions_def=partitions_of(recipe.partitioning),
    )
    def check_artifact(context: dg.AssetCheckExecutionContext, study: StudyResource) -> dg.AssetCheckResult:
        partition = context.partition_key if context.has_partition_key else UNPARTITIONED
        with failing_in_one_line():
            artifact = study.of_run(context.run.run_id).store.current(recipe.asset, partition)
            if artifact is None:
                raise ArtifactError(recipe.asset, "was never materialised", remedy="materialise it first")
            faults = list(rule.faults(artifact))
        return dg.AssetCheckResult(passed=not faults, metadata={"faults": dg.MetadataValue.json(faults)})

    return check_artifact


def counts_are_integers(artifact: Artifact) -> Iterator[str]:
    """Counts are whole and not negative."""
    for name in artifact.names("*.counts.h5ad"):
        values = artifact.anndata(name).X.data
        if values.size and (values.min() < 0 or not np.equal(np.mod(values, 1), 0).all()):
            yield f"{name}: counts are negative or not whole"


def spots_have_coordinates(artifact: Artifact) -> Iterator[str]:
    """Every spot has finite pixel coordinates."""
    for name in artifact.names("*.spots.parquet"):
        missing = int(artifact.table(name)[["x", "y"]].isna().any(axis=1).sum())
        if missing:
            yield f"{name}: {missing} spots have no coordinates"


def spots_lie_on_the_image(artifact: Artifact) -> Iterator[str]:
    """Every spot of a sample with an image lies on it."""
    for sample, facts in artifact.manifest.summary["samples"].items():
        if facts["spots_off_image"]:
            yield f"{sample}: {facts['spots_off_image']} of {facts['spots']} spots lie outside its image"


def enough_spots_and_genes(artifact: Artifact) -> Iterator[str]:
    """Every section has the spots and genes that the settings ask for."""
    yield from artifact.manifest.summary["problems"]


def no_missing_values(artifact: Artifact) -> Iterator[str]:
    """No feature is NaN or infinite."""
    for name in artifact.names("*.safetensors"):
        for key, array in artifact.arrays(name).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                yield f"{name}, {key}: {int((~np.isfinite(array)).sum())} values are not finite"


def every_spot_has_a_domain(artifact: Artifact) -> Iterator[str]:
    """Every spot has a domain."""
    domains = artifact.table("domains.parquet")["domain"]
    missing = int(domains.isna().sum() + (domains == "").sum())
    if missing:
        yield f"{missing} of {len(domains)} spots have no domain"


def every_step_is_measured(artifact: Artifact) -> Iterator[str]:
    """Corrected features and the AESTETIK embedding both have every mandatory metric, or a reason why not."""
    table = artifact.table("metrics.parquet")
    skipped = [line for line in artifact.json("skipped.json") if line["reason"]]
    for step in STEPS:
        rows = table[(table["step"] == step) & table["value"].notna()]
        if rows.empty:
            yield f"step '{step}' has no metrics"
            continue
        yield from _missing_metrics(step, rows, [line for line in skipped if line["step"] == step])


def _missing_metrics(step: str, rows: pd.DataFrame, skipped: list[dict[str, str]]) -> Iterator[str]:
    clusterers = sorted(set(rows["clusterer"]) - {""})
    mandatory = [(metric, "") for metric in METRICS_OF_EMBEDDING]
    mandatory += [(metric, clusterer) for clusterer in clusterers for metric in METRICS_OF_DOMAINS]
    for metric, clusterer in mandatory:
        measured = rows[(rows["metric"] == metric) & (rows["clusterer"] == clusterer)]
        # Skipped for some samples explains a missing pooled value only where no sample at all was measured.
        excused = any(
            (line["metric"], line["clusterer"]) == (metric, clusterer) and (not line["sample"] or measured.empty)
            for line in skipped
        )
        if not (measured["sample"] == "").any() and not excused:
            yield f"step '{step}' has no {metric}{f' of {clusterer} domains' if clusterer else ''}, and no reason why"
    if not clusterers:
        yield f"step '{step}' has no metrics of domains"


RAW_RULES = (
    CheckRule("counts_are_integers", "Counts are whole and not negative", counts_are_integers),
    CheckRule("spots_have_coordinates", "Every spot has pixel coordinates", spots_have_coordinates),
    CheckRule("spots_lie_on_the_image", "Spots lie on their image", spots_lie_on_the_image, blocking=False),
    CheckRule("enough_spots_and_genes", "Sections hold enough spots and genes", enough_spots_and_genes),
)
FEATURE_RULES = (CheckRule("no_missing_values", "No feature is NaN or infinite", no_missing_values),)
RULES: Mapping[str, tuple[CheckRule, ...]] = {
    "raw_samples": RAW_RULES,
    "morphology_embeddings": FEATURE_RULES,
    "expression_pca": FEATURE_RULES,
    "correction_pca": FEATURE_RULES,
    "corrected_features": FEATURE_RULES,
    "spot_embeddings": FEATURE_RULES,
    "domains": (CheckRule("every_spot_has_a_domain", "Every spot has a domain", every_spot_has_a_domain),),
    "metrics": (CheckRule("every_step_is_measured", "Every step has its metrics", every_step_is_measured),),
}


def rules_of(recipe: Recipe) -> tuple[CheckRule, ...]:
    """The checks of an asset, found by what it is, whatever its scope and however its encoder is called."""
    if recipe.variant is not None:
        return RULES.get(recipe.path[-1], ())
    return RULES.get(recipe.path[1] if recipe.path[0] in SCOPES else recipe.path[0], ())

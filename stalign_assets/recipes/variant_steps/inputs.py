"""What several steps of a variant read: K, grids, and the spaces that are clustered and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import KeyContext, Task
from stalign_assets.recipes.samples import GRIDS, RAW
from stalign_assets.rows import Rows, samples_of

if TYPE_CHECKING:
    import numpy as np

COHORT: Final = "cohort"


def n_domains_of(context: KeyContext) -> int:
    """K, from the settings or from the labels that the samples' summaries name."""
    from stalign_core.domains.count import resolve_n_domains

    summaries = [
        summary
        for donor in context.donors
        for summary in context.inputs[RAW][donor].manifest.summary["samples"].values()
    ]
    labels = sorted({label for summary in summaries for label in summary["labels"]})
    n_spots = sum(summary["spots"] for summary in summaries)
    partition = context.partition if context.partition in context.donors else COHORT
    # One row per distinct label and the rest unlabelled: the count of labels is the same as over all spots.
    rows = [*labels, *[None] * (n_spots - len(labels))]
    return resolve_n_domains(
        context.settings.n_domains_of(partition),
        rows,
        partition=partition,
        ignored_labels=context.settings.domains.ignored_labels,
    )


def grids_of(task: Task, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
    """Lattice cells and isotropic positions of the spots, stacked."""
    per_donor: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for donor in task.donors:
        grids = task.of_donor(GRIDS, donor)
        for sample in samples_of(task.of_donor(RAW, donor)):
            arrays = grids.arrays(f"{sample}.safetensors")
            for name in ("lattice", "positions"):
                per_donor.setdefault(donor, {})[f"{name}/{sample}"] = arrays[name]
    return {name: rows.stack(per_donor, f"{name}/") for name in ("lattice", "positions")}


def spaces_of(task: Task, variant: str, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
    """The embedding of each step: corrected expression alone, and AESTETIK."""
    corrected = task.one(f"{task.scope}/{variant}/corrected_features")
    embedded = task.one(f"{task.scope}/{variant}/spot_embeddings")
    features = {donor: corrected.arrays(f"{donor}.safetensors") for donor in task.donors}
    vectors = {donor: embedded.arrays(f"{donor}.safetensors") for donor in task.donors}
    return {"correction": rows.stack(features, "expression/"), "aestetik": rows.stack(vectors)}

"""`metrics`: what the domains and embeddings of a variant are worth, before and after AESTETIK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stalign_assets.recipes.recipe import KeyContext, Task
from stalign_assets.recipes.samples import RAW
from stalign_assets.recipes.variant_steps.inputs import grids_of, spaces_of
from stalign_assets.rows import labels_of, rows_of


def metric_settings(context: KeyContext) -> Mapping[str, Any]:
    """How metrics are measured, and which labels do not count."""
    settings = context.settings
    return {
        "metrics": settings.metrics,
        "covariate": settings.correction.covariate,
        "ignored_labels": settings.domains.ignored_labels,
    }


def measure_variant(variant: str, task: Task) -> None:
    """Measure corrected expression alone and the AESTETIK embedding, with every clustering of each."""
    import pandas as pd

    from stalign_core.metrics import measure

    rows = rows_of(task.inputs[RAW], task.donors)
    labels = labels_of(task.inputs[RAW], rows)
    spaces = spaces_of(task, variant, rows)
    domains = task.one(f"{task.scope}/{variant}/domains")
    steps = domains.table("steps.parquet")
    positions = grids_of(task, rows)["positions"]
    tables, skipped = [], []
    for done, (step, space) in enumerate(spaces.items()):
        task.progress(f"measuring {step}", done, len(spaces))
        found = {name.split("/")[1]: steps[name].to_numpy() for name in steps.columns if name.startswith(f"{step}/")}
        measured = measure(
            step,
            space,
            found,
            labels=labels,
            samples=rows.sample,
            donors=rows.donor,
            positions=positions,
            settings=task.settings.metrics,
            seed=task.settings.seed,
            covariate=task.settings.correction.covariate,
            ignored_labels=task.settings.domains.ignored_labels,
            partition_donor=task.partition if task.scope == "donor" else "",
        )
        tables.append(measured.table)
        skipped += [{"step": step, **vars(line)} for line in measured.skipped]
    task.builder.write_table("metrics.parquet", pd.concat(tables, ignore_index=True))
    task.builder.write_json("skipped.json", skipped)
    n_domains = domains.manifest.settings["n_domains"]
    chosen = task.settings.variants[variant]
    task.builder.summary["variant"] = {
        "representation": chosen.representation,
        "encoder": chosen.encoder,
        "method": chosen.correction,
    }
    # What was measured does not depend on the step.
    task.builder.summary.update(n_domains_requested=n_domains, **measured.facts, **_headline(task, pd.concat(tables)))


def _headline(task: Task, table: Any) -> dict[str, float]:
    """Pooled figures of the domains as delivered, for the UI to plot."""
    clusterer = task.settings.domains.clusterer + ("+refined" if task.settings.domains.refine else "")
    pooled = table[(table["step"] == "aestetik") & (table["sample"] == "")]
    shown = pooled[pooled["clusterer"].isin(["", clusterer])]
    return {row.metric: round(float(row.value), 4) for row in shown.itertuples()}

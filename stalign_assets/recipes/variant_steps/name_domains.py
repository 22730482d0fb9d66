"""`domains`: clusters of the embeddings, refined by the nearest spots, and pictures of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import KeyContext, Task
from stalign_assets.recipes.samples import RAW
from stalign_assets.recipes.variant_steps.inputs import grids_of, n_domains_of, spaces_of
from stalign_assets.rows import Rows, rows_of

if TYPE_CHECKING:
    import numpy as np

CLUSTERERS: Final = ("kmeans", "tied")
STEPS: Final = ("correction", "aestetik")


def domain_settings(context: KeyContext) -> Mapping[str, Any]:
    """K, clusterer and refinement."""
    domains = context.settings.domains
    return {
        "n_domains": n_domains_of(context),
        "clusterer": domains.clusterer,
        "refine_neighbors": domains.refine_neighbors if domains.refine else 0,
    }


def name_domains(variant: str, task: Task) -> None:
    """Cluster each step by each clusterer; the study's choice on AESTETIK becomes the domains."""
    import pandas as pd

    from stalign_core.domains import assign_domains

    rows = rows_of(task.inputs[RAW], task.donors)
    spaces = spaces_of(task, variant, rows)
    chosen = task.settings.domains.clusterer
    nearest = _nearest(task, rows) if task.key_settings["refine_neighbors"] else None
    steps = pd.DataFrame({"sample": rows.sample, "barcode": rows.barcode})
    for done, (step, clusterer) in enumerate(_clusterings()):
        task.progress(f"clustering {step} by {clusterer}", done, len(_clusterings()))
        found = assign_domains(
            spaces[step],
            task.key_settings["n_domains"],
            clusterer,
            task.settings.seed,
            spot_names=rows.names,
            nearest=nearest if step == "aestetik" else None,
            donor=task.partition if task.scope == "donor" else "",
        )
        steps[f"{step}/{clusterer}"] = found.domain_unrefined
        if step == "aestetik" and nearest is not None:
            steps[f"{step}/{clusterer}+refined"] = found.domain
        if step == "aestetik" and clusterer == chosen:
            domains = pd.DataFrame(
                {
                    "sample": rows.sample,
                    "donor": rows.donor,
                    "barcode": rows.barcode,
                    "domain": found.domain,
                    "domain_unrefined": found.domain_unrefined,
                }
            )
            # What a later mapping needs; metrics and reports read the tables alone.
            arrays, facts = found.assigner.to_arrays()
            task.builder.write_arrays("assigner.safetensors", arrays)
            task.builder.write_json("assigner.json", facts)
            task.builder.summary.update(n_spots=len(domains), n_domains=found.n_found, n_spots_refined=found.n_changed)
    task.builder.write_table("domains.parquet", domains)
    task.builder.write_table("steps.parquet", steps)
    _draw(task, rows, spaces["aestetik"], domains["domain"].to_numpy(dtype=object))


def _clusterings() -> list[tuple[str, Any]]:
    return [(step, clusterer) for step in STEPS for clusterer in CLUSTERERS]


def _nearest(task: Task, rows: Rows) -> np.ndarray[Any, Any]:
    """Nearest spots of each spot within its sample, as rows of the stack; -1 where there is none."""
    from stalign_core.grid import nearest_within_samples

    positions = grids_of(task, rows)["positions"]
    samples = (positions[span] for _, span in rows.each_sample())
    return nearest_within_samples(samples, task.key_settings["refine_neighbors"])


def _draw(task: Task, rows: Rows, embedding: np.ndarray[Any, Any], domains: np.ndarray[Any, Any]) -> None:
    from stalign_core.plots import domain_map, project, projection_figure, thumbnail

    task.progress("drawing", 0, 1)
    title = f"{task.recipe.asset} {task.partition if task.scope == 'donor' else ''}".strip()
    origin = ("donor", rows.donor) if len(task.donors) > 1 else ("sample", rows.sample)
    projection = project(embedding, task.settings.seed)
    pictures = {
        "domain_map": domain_map(
            grids_of(task, rows)["positions"], domains, rows.sample, donors=rows.donor, title=title
        ),
        "umap": projection_figure(projection, {origin[0]: origin[1], "domain": domains}, title=title),
    }
    for name, picture in pictures.items():
        task.builder.write_bytes(f"{name}.png", picture)
        task.builder.write_bytes(f"{name}.thumbnail.png", thumbnail(picture))

"""Assets of one scope and variant: corrected features, model, embeddings, domains, metrics.

One function makes the chain for every variant of either scope.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.features import SPOTS, harmony_settings, partitioning_of
from stalign_assets.recipes.recipe import Input, KeyContext, Recipe, Task
from stalign_assets.recipes.samples import GRIDS, RAW
from stalign_assets.rows import Rows, labels_of, rows_of, samples_of
from stalign_core.settings import variant_group

if TYPE_CHECKING:
    import numpy as np

    from stalign_core.correction import CorrectionResult
    from stalign_core.settings import Scope, Settings, VariantSettings

_CORRECTION_VERSION: Final = 1
_MODEL_VERSION: Final = 1
_EMBEDDING_VERSION: Final = 1
_DOMAINS_VERSION: Final = 1
_METRICS_VERSION: Final = 1

CLUSTERERS: Final = ("kmeans", "tied")
STEPS: Final = ("correction", "aestetik")
COHORT: Final = "cohort"
_MODEL_FOLDER: Final = "model"


def variant_recipes(settings: Settings, scope: Scope, variant: str) -> Iterator[Recipe]:
    """Recipes of the group `<scope>_<variant>`."""
    chosen = settings.variants[variant]
    prefix = f"{scope}/{variant}"
    common: dict[str, Any] = {
        "group": f"{scope}_{variant_group(variant)}",
        "partitioning": partitioning_of(scope),
        "variant": variant,
    }
    expression, morphology = _expression_source(scope, chosen), _morphology_source(scope, chosen)
    yield Recipe(
        asset=f"{prefix}/corrected_features",
        description=f"Expression corrected by {chosen.correction}, and the morphology that goes with it.",
        code_version=_CORRECTION_VERSION,
        inputs=(*expression, Input(morphology, ("*.safetensors",)), SPOTS),
        settings=partial(_correction_settings, variant),
        compute=partial(_correct, chosen, expression[0].asset, morphology),
        seeded=True,
        pool="gpu" if chosen.correction == "scvi" else None,
        kinds=("torch" if chosen.correction == "scvi" else "numpy",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/aestetik_model",
        description="The AESTETIK autoencoder trained on the grids of corrected features.",
        code_version=_MODEL_VERSION,
        inputs=(Input(f"{prefix}/corrected_features", ("*.safetensors",)), Input(GRIDS), SPOTS),
        settings=partial(_model_settings, variant),
        compute=partial(_train, variant),
        seeded=True,
        pool="gpu",
        kinds=("torch",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/spot_embeddings",
        description="The model's vector of each spot, one part per donor.",
        code_version=_EMBEDDING_VERSION,
        inputs=(
            Input(f"{prefix}/aestetik_model"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            SPOTS,
        ),
        settings=lambda _: {},
        compute=partial(_embed, variant),
        pool="gpu",
        kinds=("torch",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/domains",
        description="Tissue domains: clusters of the embeddings, refined by the nearest spots.",
        code_version=_DOMAINS_VERSION,
        inputs=(
            Input(f"{prefix}/spot_embeddings"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            SPOTS,
        ),
        settings=_domain_settings,
        compute=partial(_name_domains, variant),
        seeded=True,
        kinds=("parquet",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/metrics",
        description="Agreement with labels, mixing of samples and spatial coherence, before and after AESTETIK.",
        code_version=_METRICS_VERSION,
        inputs=(
            Input(f"{prefix}/domains", ("*.parquet",)),
            Input(f"{prefix}/spot_embeddings"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            Input(RAW, ("*.spots.parquet", "*.labels.parquet")),
        ),
        settings=_metric_settings,
        compute=partial(_measure, variant),
        seeded=True,
        kinds=("parquet",),
        **common,
    )


def _expression_source(scope: Scope, variant: VariantSettings) -> tuple[Input, ...]:
    if variant.correction == "scvi":
        return (Input(f"{scope}/gene_panel", ("panel.parquet",)), Input(RAW, ("*.counts.h5ad", "*.spots.parquet")))
    if variant.representation == "pca":
        return (Input(f"{scope}/expression_pca", ("*.safetensors",)),)
    return (Input(f"{scope}/representation_pca/{variant.representation}", ("*.safetensors",)),)


def _morphology_source(scope: Scope, variant: VariantSettings) -> str:
    kind = "morphology_pca" if variant.correction == "uncorrected" else "morphology_harmony"
    return f"{scope}/{kind}/{variant.encoder}"


# corrected_features


def _correction_settings(variant: str, context: KeyContext) -> Mapping[str, Any]:
    method = context.settings.variants[variant].correction
    correction = context.settings.correction
    if method == "uncorrected":
        return {"method": method}
    if method == "harmony":
        return {"method": method, **harmony_settings(context)}
    settings = {"method": method, "covariate": correction.covariate, method: getattr(correction, method)}
    if method == "scvi":
        settings["n_latent"] = context.settings.expression.n_components
    return settings


def _correct(chosen: VariantSettings, expression: str, morphology: str, task: Task) -> None:
    rows = rows_of(task.inputs[RAW], task.donors)
    batches = rows.sample if task.settings.correction.covariate == "sample" else rows.donor
    if chosen.correction == "scvi":
        result = _fit_scvi(task, expression, batches)
    else:
        result = _correct_embedding(task, chosen, expression, rows, batches)
    stored = task.one(morphology)
    morphology_parts = {donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}
    expression_parts = rows.split(result.features, "expression/")
    for donor in task.donors:
        arrays = dict(expression_parts[donor])
        for sample in samples_of(task.of_donor(RAW, donor)):
            arrays[f"morphology/{sample}"] = morphology_parts[donor][f"features/{sample}"]
            arrays[f"has_morphology/{sample}"] = morphology_parts[donor][f"observed/{sample}"]
        task.builder.write_arrays(f"{donor}.safetensors", arrays)
    # Named apart from the parts above: what a later mapping needs is stored, and read by nothing here.
    if result.arrays:
        task.builder.write_arrays("correction/model.safetensors", result.arrays)
    task.builder.write_json("correction/model.json", result.facts)
    observed = rows.stack(morphology_parts, "observed/")
    task.builder.summary.update(
        n_spots=len(rows.sample),
        n_components=int(result.features.shape[1]),
        n_batches=len(set(batches)),
        n_spots_without_morphology=int((~observed).sum()),
        method=chosen.correction,
    )


def _correct_embedding(
    task: Task, chosen: VariantSettings, expression: str, rows: Rows, batches: np.ndarray[Any, Any]
) -> CorrectionResult:
    from stalign_core.correction import correct_embedding

    stored = task.one(expression)
    prefix = "" if chosen.representation == "pca" else "features/"
    features = rows.stack({donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}, prefix)
    return correct_embedding(chosen.correction, features, batches, task.settings.correction, task.settings.seed)


def _fit_scvi(task: Task, panel_asset: str, batches: np.ndarray[Any, Any]) -> CorrectionResult:
    from scipy.sparse import vstack

    from stalign_core.correction.scvi import fit_scvi

    panel = task.one(panel_asset).table("panel.parquet")["gene"].to_numpy(dtype=object)
    blocks = []
    for _, raw in task.each_donor(RAW):
        for sample in samples_of(raw):
            blocks.append(raw.anndata(f"{sample}.counts.h5ad")[:, panel].X)
    task.builder.determinism = "scVI: deterministic on the CPU for the same thread count; not guaranteed on a GPU"
    return fit_scvi(
        vstack(blocks, format="csr"),
        batches,
        task.settings.correction,
        n_latent=task.settings.expression.n_components,
        seed=task.settings.seed,
        genes=panel.tolist(),
        progress=task.progress,
    )


# aestetik_model and spot_embeddings


def _model_settings(variant: str, context: KeyContext) -> Mapping[str, Any]:
    from dataclasses import asdict

    return {"aestetik": asdict(context.settings.aestetik_of(variant)), "n_domains": _n_domains(context)}


def _n_domains(context: KeyContext) -> int:
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


def _model_inputs(task: Task, variant: str) -> tuple[Rows, dict[str, np.ndarray[Any, Any]]]:
    rows = rows_of(task.inputs[RAW], task.donors)
    stored = task.one(f"{task.scope}/{variant}/corrected_features")
    features = {donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}
    return rows, {
        "expression": rows.stack(features, "expression/"),
        "morphology": rows.stack(features, "morphology/"),
        "has_morphology": rows.stack(features, "has_morphology/"),
        "lattice": _grids(task, rows)["lattice"],
        "sample": rows.sample_codes,
    }


def _grids(task: Task, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
    per_donor: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for donor in task.donors:
        grids = task.of_donor(GRIDS, donor)
        for sample in samples_of(task.of_donor(RAW, donor)):
            arrays = grids.arrays(f"{sample}.safetensors")
            for name in ("lattice", "positions"):
                per_donor.setdefault(donor, {})[f"{name}/{sample}"] = arrays[name]
    return {name: rows.stack(per_donor, f"{name}/") for name in ("lattice", "positions")}


def _train(variant: str, task: Task) -> None:
    from stalign_core.aestetik import Aestetik

    _, arrays = _model_inputs(task, variant)
    model = Aestetik(task.settings.aestetik_of(variant), seed=task.settings.seed)
    checkpoints = task.study.folder / "cache" / "training" / task.recipe.asset / task.partition
    model.fit(**arrays, n_domains=task.key_settings["n_domains"], progress=task.progress, checkpoint_folder=checkpoints)
    model.save(task.builder.folder(_MODEL_FOLDER))
    task.builder.record_folder(_MODEL_FOLDER)
    shutil.rmtree(checkpoints, ignore_errors=True)
    task.builder.summary.update(
        n_spots=len(arrays["expression"]),
        n_epochs=len(model.history),
        **{name: round(value, 5) for name, value in model.history[-1].items()},
    )


def _embed(variant: str, task: Task) -> None:
    from stalign_core.aestetik import Aestetik

    rows, arrays = _model_inputs(task, variant)
    stored = task.one(f"{task.scope}/{variant}/aestetik_model")
    model = Aestetik.load(stored.local_folder(_MODEL_FOLDER))
    embedding = model.embed(**arrays)
    for donor, parts in rows.split(embedding).items():
        task.builder.write_arrays(f"{donor}.safetensors", parts)
    task.builder.summary.update(n_spots=len(embedding), n_latent=int(embedding.shape[1]))


# domains


def _domain_settings(context: KeyContext) -> Mapping[str, Any]:
    domains = context.settings.domains
    return {
        "n_domains": _n_domains(context),
        "clusterer": domains.clusterer,
        "refine_neighbors": domains.refine_neighbors if domains.refine else 0,
    }


def _name_domains(variant: str, task: Task) -> None:
    import pandas as pd

    from stalign_core.domains import assign_domains

    rows = rows_of(task.inputs[RAW], task.donors)
    spaces = _spaces(task, variant, rows)
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
            task.builder.summary.update(n_spots=len(domains), n_domains=found.n_found, n_spots_refined=found.n_changed)
    task.builder.write_table("domains.parquet", domains)
    task.builder.write_table("steps.parquet", steps)
    _draw(task, rows, spaces["aestetik"], domains["domain"].to_numpy(dtype=object))


def _clusterings() -> list[tuple[str, Any]]:
    return [(step, clusterer) for step in STEPS for clusterer in CLUSTERERS]


def _spaces(task: Task, variant: str, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
    corrected = task.one(f"{task.scope}/{variant}/corrected_features")
    embedded = task.one(f"{task.scope}/{variant}/spot_embeddings")
    features = {donor: corrected.arrays(f"{donor}.safetensors") for donor in task.donors}
    vectors = {donor: embedded.arrays(f"{donor}.safetensors") for donor in task.donors}
    return {"correction": rows.stack(features, "expression/"), "aestetik": rows.stack(vectors)}


def _nearest(task: Task, rows: Rows) -> np.ndarray[Any, Any]:
    """Nearest spots of each spot within its sample, as rows of the stack; -1 where there is none."""
    import numpy as np

    from stalign_core.grid import nearest_spots

    positions = _grids(task, rows)["positions"]
    nearest = np.full((len(positions), task.key_settings["refine_neighbors"]), -1, dtype=np.int64)
    for _, span in rows.each_sample():
        within = nearest_spots(positions[span], nearest.shape[1])
        nearest[span] = np.where(within >= 0, within + span.start, -1)
    return nearest


def _draw(task: Task, rows: Rows, embedding: np.ndarray[Any, Any], domains: np.ndarray[Any, Any]) -> None:
    from stalign_core.plots import domain_map, project, projection_figure, thumbnail

    task.progress("drawing", 0, 1)
    title = f"{task.recipe.asset} {task.partition if task.scope == 'donor' else ''}".strip()
    origin = ("donor", rows.donor) if len(task.donors) > 1 else ("sample", rows.sample)
    projection = project(embedding, task.settings.seed)
    pictures = {
        "domain_map": domain_map(_grids(task, rows)["positions"], domains, rows.sample, donors=rows.donor, title=title),
        "umap": projection_figure(projection, {origin[0]: origin[1], "domain": domains}, title=title),
    }
    for name, picture in pictures.items():
        task.builder.write_bytes(f"{name}.png", picture)
        task.builder.write_bytes(f"{name}.thumbnail.png", thumbnail(picture))


# metrics


def _metric_settings(context: KeyContext) -> Mapping[str, Any]:
    settings = context.settings
    return {
        "metrics": settings.metrics,
        "covariate": settings.correction.covariate,
        "ignored_labels": settings.domains.ignored_labels,
    }


def _measure(variant: str, task: Task) -> None:
    import pandas as pd

    from stalign_core.metrics import measure

    rows = rows_of(task.inputs[RAW], task.donors)
    labels = labels_of(task.inputs[RAW], rows)
    spaces = _spaces(task, variant, rows)
    domains = task.one(f"{task.scope}/{variant}/domains")
    steps = domains.table("steps.parquet")
    positions = _grids(task, rows)["positions"]
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
    task.builder.summary.update(n_domains_requested=n_domains, **_headline(task, pd.concat(tables)))


def _headline(task: Task, table: Any) -> dict[str, float]:
    """Pooled figures of the domains as delivered, for the UI to plot."""
    clusterer = task.settings.domains.clusterer + ("+refined" if task.settings.domains.refine else "")
    pooled = table[(table["step"] == "aestetik") & (table["sample"] == "")]
    shown = pooled[pooled["clusterer"].isin(["", clusterer])]
    return {row.metric: round(float(row.value), 4) for row in shown.itertuples()}

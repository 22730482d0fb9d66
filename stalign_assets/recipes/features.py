"""Assets of a scope that no variant changes: gene panel, bases, principal components, corrected morphology.

One function makes them for `donor` and for `cohort`. Counts are streamed sample by sample; nothing here holds more
than one sample's counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.drift import drift_recipe
from stalign_assets.recipes.recipe import Input, KeyContext, Partitioning, Recipe, Task
from stalign_assets.recipes.samples import EXTERNAL, MORPHOLOGY, RAW, STATISTICS, used_encoders, used_representations
from stalign_assets.recipes.usual_times import tell_usual_time
from stalign_assets.rows import rows_of, samples_of

if TYPE_CHECKING:
    import numpy as np

    from stalign_core.expression.dense_basis import DenseBasis
    from stalign_core.settings import Scope, Settings
    from stalign_core.store import Artifact

_PANEL_VERSION: Final = 1
_BASIS_VERSION: Final = 1
_PCA_VERSION: Final = 1
_DENSE_BASIS_VERSION: Final = 1
_DENSE_PCA_VERSION: Final = 1
_MORPHOLOGY_HARMONY_VERSION: Final = 2

SPOTS: Final = Input(RAW, ("*.spots.parquet",))


def partitioning_of(scope: Scope) -> Partitioning:
    """Donor scope has one artifact per donor, cohort scope one in all."""
    return "donor" if scope == "donor" else "none"


def feature_recipes(settings: Settings, scope: Scope) -> Iterator[Recipe]:
    """Recipes of the group `<scope>_features`."""
    yield from _expression_recipes(settings, scope)
    if scope == "cohort" and settings.incremental.freeze_bases:
        yield drift_recipe(settings)
    for name in used_representations(settings):
        where = f"{EXTERNAL}/{name}"
        yield _dense_basis(scope, f"{scope}/representation_basis/{name}", where, "expression", f"embedding '{name}'")
        yield _dense_pca(scope, f"{scope}/representation_pca/{name}", where, "representation_basis", name)
    for encoder in used_encoders(settings):
        where = f"{MORPHOLOGY}/{encoder}"
        yield _dense_basis(scope, f"{scope}/morphology_basis/{encoder}", where, "morphology", f"encoder '{encoder}'")
        yield _dense_pca(scope, f"{scope}/morphology_pca/{encoder}", where, "morphology_basis", encoder)
        yield _morphology_harmony(scope, encoder)


def _expression_recipes(settings: Settings, scope: Scope) -> Iterator[Recipe]:
    yield Recipe(
        asset=f"{scope}/gene_panel",
        group=f"{scope}_features",
        description="Highly variable genes (seurat_v3, batch = sample) of the genes that all samples share.",
        partitioning=partitioning_of(scope),
        code_version=_PANEL_VERSION,
        inputs=(Input(STATISTICS),),
        settings=_panel_settings,
        compute=_choose_panel,
        kinds=("parquet",),
        freezable=scope == "cohort",
    )
    yield from _basis_and_pca(scope, "expression", "genes standardised over all spots")
    if has_correction_basis(settings, scope):
        yield from _basis_and_pca(scope, "correction", "genes standardised as corrected variants want it")


def has_correction_basis(settings: Settings, scope: Scope) -> bool:
    """Whether corrected variants may start from other principal components than the uncorrected one."""
    scaling = settings.expression.scaling
    return scaling == "sample" or (scaling == "auto" and scope == "cohort")


def _basis_and_pca(scope: Scope, kind: str, scaled: str) -> Iterator[Recipe]:
    basis = f"{scope}/{kind}_basis"
    common: dict[str, Any] = {"group": f"{scope}_features", "partitioning": partitioning_of(scope), "kinds": ("numpy",)}
    yield Recipe(
        asset=basis,
        description=f"Means, deviations and principal axes of normalised expression over the panel; {scaled}.",
        code_version=_BASIS_VERSION,
        inputs=(Input(f"{scope}/gene_panel"), Input(RAW, ("*.counts.h5ad",))),
        settings=partial(_basis_settings, kind),
        compute=_fit_expression_basis,
        freezable=scope == "cohort",
        **common,
    )
    yield Recipe(
        asset=f"{scope}/{kind}_pca",
        description=f"Principal components of each spot's expression, one part per donor; {scaled}.",
        code_version=_PCA_VERSION,
        inputs=(Input(basis), Input(RAW, ("*.counts.h5ad",))),
        settings=lambda _: {},
        compute=partial(_project_expression, basis),
        **common,
    )


def _panel_settings(context: KeyContext) -> Mapping[str, Any]:
    expression = context.settings.expression
    return {"n_top_genes": expression.n_top_genes, "min_spots_per_gene": expression.min_spots_per_gene}


def _choose_panel(task: Task) -> None:
    from stalign_core.expression.gene_statistics import GeneHistogram
    from stalign_core.expression.panel import select_panel
    from stalign_core.readers import share_genes

    histograms = {
        sample.removesuffix(".parquet"): GeneHistogram.from_frame(statistics.table(sample))
        for _, statistics in task.each_donor(STATISTICS)
        for sample in statistics.names("*.parquet")
    }
    share_genes({name: found.genes for name, found in histograms.items()}, str(task.study.cohort.sheet))
    panel = select_panel(histograms, **task.key_settings)
    task.builder.write_table("panel.parquet", panel.table)
    task.builder.write_json("lost.json", panel.lost)
    losses = {sample: n_lost for sample, n_lost in panel.lost.items() if n_lost}
    if losses:
        named = ", ".join(f"{sample} {n_lost}" for sample, n_lost in sorted(losses.items()))
        task.say(f"joined on {panel.n_shared} shared genes; genes lost per sample: {named}")
    task.builder.summary.update(
        n_genes=len(panel.genes), n_genes_shared=panel.n_shared, n_genes_kept=panel.n_kept, genes_lost=losses
    )


def _basis_settings(kind: str, context: KeyContext) -> Mapping[str, Any]:
    expression = context.settings.expression
    return {
        "target_sum": expression.target_sum,
        "scaling": "cohort" if kind == "expression" else expression.scaling_of(len(context.donors)),
        "n_components": expression.n_components,
    }


def _fit_expression_basis(task: Task) -> None:
    from stalign_core.expression.basis import ExpressionMoments, fit_expression_basis

    panel = task.one(f"{task.scope}/gene_panel").table("panel.parquet")["gene"].to_numpy(dtype=object)
    seen = ExpressionMoments.empty(panel, task.key_settings["target_sum"], task.key_settings["scaling"])
    for _, raw in task.each_donor(RAW):
        for sample in samples_of(raw):
            seen.add_sample(sample, *_counts_and_genes(raw, sample))
    basis = fit_expression_basis(seen, task.key_settings["n_components"])
    arrays, facts = basis.to_arrays()
    task.builder.write_arrays("basis.safetensors", arrays)
    task.builder.write_json("basis.json", facts)
    task.builder.summary.update(
        n_spots=basis.n_spots,
        n_genes=len(panel),
        scaling=basis.scaling,
        explained_variance=round(float(basis.explained_variance.sum() / basis.total_variance), 4),
    )


def _project_expression(basis_asset: str, task: Task) -> None:
    from stalign_core.expression.basis import ExpressionBasis

    stored = task.one(basis_asset)
    basis = ExpressionBasis.from_arrays(stored.arrays("basis.safetensors"), stored.json("basis.json"))
    for donor, raw in task.each_donor(RAW):
        key = {"basis": stored.manifest.data_version, "counts": raw.used_hash(["*.counts.h5ad"]), "code": _PCA_VERSION}
        if task.builder.reuse_part(donor, key):
            continue
        scores = {sample: basis.project(*_counts_and_genes(raw, sample), sample) for sample in samples_of(raw)}
        task.builder.write_arrays(f"{donor}.safetensors", scores, part=donor)
    task.builder.summary.update(n_spots=basis.n_spots, n_components=basis.n_components)


def _counts_and_genes(raw: Artifact, sample: str) -> tuple[Any, np.ndarray[Any, Any]]:
    """Counts of a section and its genes; passed on and bound to no name, they are gone before the next are read."""
    counts = raw.anndata(f"{sample}.counts.h5ad")
    return counts.X, counts.var_names.to_numpy(dtype=object)


def _dense_basis(scope: Scope, asset: str, source: str, modality: str, what: str) -> Recipe:
    return Recipe(
        asset=asset,
        group=f"{scope}_features",
        description=f"Principal axes of {what}; spots without a value are left out.",
        partitioning=partitioning_of(scope),
        code_version=_DENSE_BASIS_VERSION,
        inputs=(Input(source, ("*.safetensors",)),),
        settings=partial(_dense_settings, modality),
        compute=partial(_fit_dense_basis, source),
        kinds=("numpy",),
        freezable=scope == "cohort",
    )


def _dense_settings(modality: str, context: KeyContext) -> Mapping[str, Any]:
    return {"n_components": getattr(context.settings, modality).n_components}


def _fit_dense_basis(source: str, task: Task) -> None:
    from stalign_core.expression.dense_basis import DenseMoments, fit_dense_basis

    seen: DenseMoments | None = None
    for _, artifact in task.each_donor(source):
        for name in artifact.names("*.safetensors"):
            arrays = artifact.arrays(name)
            if seen is None:
                seen = DenseMoments.empty(arrays["features"].shape[1])
            seen.add_rows(arrays["features"], arrays.get("observed"), where=name.removesuffix(".safetensors"))
    assert seen is not None, "a donor has at least one sample"
    basis = fit_dense_basis(seen, task.key_settings["n_components"])
    arrays, facts = basis.to_arrays()
    task.builder.write_arrays("basis.safetensors", arrays)
    task.builder.write_json("basis.json", facts)
    task.builder.summary.update(n_spots=basis.n_rows, n_spots_missing=basis.n_missing, n_components=basis.n_components)


def _dense_pca(scope: Scope, asset: str, source: str, basis: str, name: str) -> Recipe:
    return Recipe(
        asset=asset,
        group=f"{scope}_features",
        description=f"Principal components of '{name}', one part per donor; spots without a value are zero.",
        partitioning=partitioning_of(scope),
        code_version=_DENSE_PCA_VERSION,
        inputs=(Input(f"{scope}/{basis}/{name}"), Input(source, ("*.safetensors",))),
        settings=lambda _: {},
        compute=partial(_project_dense, source, f"{scope}/{basis}/{name}"),
        kinds=("numpy",),
    )


def _project_dense(source: str, basis_asset: str, task: Task) -> None:
    stored = task.one(basis_asset)
    basis = _load_dense_basis(stored)
    n_missing = 0
    for donor, artifact in task.each_donor(source):
        n_missing += artifact.manifest.summary.get("n_spots_without_morphology", 0)
        key = {
            "basis": stored.manifest.data_version,
            "features": artifact.used_hash(["*.safetensors"]),
            "code": _DENSE_PCA_VERSION,
        }
        if task.builder.reuse_part(donor, key):
            continue
        projected: dict[str, np.ndarray[Any, Any]] = {}
        for name in artifact.names("*.safetensors"):
            arrays = artifact.arrays(name)
            sample = name.removesuffix(".safetensors")
            projected[f"features/{sample}"] = basis.project(arrays["features"], arrays.get("observed"), where=sample)
            projected[f"observed/{sample}"] = _observed(arrays)
        task.builder.write_arrays(f"{donor}.safetensors", projected, part=donor)
    task.builder.summary.update(n_components=basis.n_components, n_spots_missing=n_missing)


def _load_dense_basis(stored: Artifact) -> DenseBasis:
    from stalign_core.expression.dense_basis import DenseBasis

    return DenseBasis.from_arrays(stored.arrays("basis.safetensors"), stored.json("basis.json"))


def _observed(arrays: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    import numpy as np

    return arrays["observed"] if "observed" in arrays else np.ones(len(arrays["features"]), dtype=bool)


def _morphology_harmony(scope: Scope, encoder: str) -> Recipe:
    return Recipe(
        asset=f"{scope}/morphology_harmony/{encoder}",
        group=f"{scope}_features",
        description=f"Morphology of encoder '{encoder}' corrected across samples by Harmony, for all variants.",
        partitioning=partitioning_of(scope),
        code_version=_MORPHOLOGY_HARMONY_VERSION,
        inputs=(Input(f"{scope}/morphology_pca/{encoder}", ("*.safetensors",)), SPOTS),
        settings=harmony_settings,
        compute=partial(_correct_morphology, encoder),
        seeded=True,
        kinds=("numpy",),
    )


def harmony_settings(context: KeyContext) -> Mapping[str, Any]:
    """What matters to a Harmony correction."""
    correction = context.settings.correction
    return {"covariate": correction.covariate, "harmony": correction.harmony}


def _correct_morphology(encoder: str, task: Task) -> None:
    from stalign_core.correction import correct_where_present

    rows = rows_of(task.inputs[RAW], task.donors)
    stored = task.one(f"{task.scope}/morphology_pca/{encoder}")
    per_donor = {donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}
    features = rows.stack(per_donor, "features/")
    observed = rows.stack(per_donor, "observed/")
    batches = rows.sample if task.settings.correction.covariate == "sample" else rows.donor
    tell_usual_time(task, "harmony", int(observed.sum()))
    result = correct_where_present("harmony", features, observed, batches, task.settings.correction, task.settings.seed)
    if result.arrays:
        task.builder.write_arrays("correction/model.safetensors", result.arrays)
    task.builder.write_json("correction/model.json", result.facts)
    corrected_parts, observed_parts = rows.split(result.features, "features/"), rows.split(observed, "observed/")
    for donor in task.donors:
        task.builder.write_arrays(f"{donor}.safetensors", {**corrected_parts[donor], **observed_parts[donor]})
    task.builder.summary.update(n_spots=len(features), n_spots_missing=int((~observed).sum()))

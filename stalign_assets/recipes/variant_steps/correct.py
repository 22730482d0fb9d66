"""`corrected_features`: expression corrected by the variant's method, with the morphology that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stalign_assets.recipes.features import harmony_settings
from stalign_assets.recipes.recipe import KeyContext, Task, warn_of_reduced_batch
from stalign_assets.recipes.samples import RAW
from stalign_assets.recipes.usual_times import tell_usual_time
from stalign_assets.rows import Rows, rows_of, samples_of
from stalign_core.correction.registry import METHODS

if TYPE_CHECKING:
    import numpy as np

    from stalign_core.correction import CorrectionResult
    from stalign_core.settings import VariantSettings


def correction_settings(variant: str, context: KeyContext) -> Mapping[str, Any]:
    """The method, what it corrects for, and its own settings."""
    method = context.settings.variants[variant].correction
    correction = context.settings.correction
    if method == "uncorrected":
        return {"method": method}
    if method == "harmony":
        return {"method": method, **harmony_settings(context)}
    # Where it is trained, and what it refuses, do not change what the correction is.
    own = getattr(correction, method, None)
    settings: dict[str, Any] = {"method": method, "covariate": correction.covariate}
    if own is not None:
        settings[method] = own.model_dump(mode="json", exclude={"device", "max_spots"})
    if METHODS[method].needs == "counts":
        settings["n_latent"] = context.settings.expression.n_components
    return settings


def correct(chosen: VariantSettings, expression: str, morphology: str, task: Task) -> None:
    """Correct expression over all samples, and store each donor's part and what a later mapping needs."""
    rows = rows_of(task.inputs[RAW], task.donors)
    batches = rows.sample if task.settings.correction.covariate == "sample" else rows.donor
    used: dict[str, Any] = {}
    if chosen.correction == "scvi":
        result, used = _fit_scvi(task, expression, batches)
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
        **used,
    )


def _correct_embedding(
    task: Task, chosen: VariantSettings, expression: str, rows: Rows, batches: np.ndarray[Any, Any]
) -> CorrectionResult:
    from stalign_core.correction import correct_embedding

    stored = task.one(expression)
    prefix = "" if chosen.representation == "pca" else "features/"
    features = rows.stack({donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}, prefix)
    tell_usual_time(task, chosen.correction, len(features))
    return correct_embedding(chosen.correction, features, batches, task.settings.correction, task.settings.seed)


def _fit_scvi(task: Task, panel_asset: str, batches: np.ndarray[Any, Any]) -> tuple[CorrectionResult, dict[str, Any]]:
    """The correction, and what it used of its device."""
    from stalign_core.correction.counts_on_disk import CountsOnDisk
    from stalign_core.correction.scvi import BATCH_SIZE_REDUCED_TO, PRECISION, fit_scvi
    from stalign_core.devices import DETERMINISM, resolve_device, using_device

    panel = task.one(panel_asset).table("panel.parquet")["gene"].to_numpy(dtype=object)
    with CountsOnDisk(task.scratch / "counts", len(panel)) as counts:
        for _, raw in task.each_donor(RAW):
            for sample in samples_of(raw):
                counts.add_section(raw.anndata(f"{sample}.counts.h5ad")[:, panel].X)
    device = resolve_device(task.settings.correction.scvi.device, "correction.scvi.device")
    task.builder.determinism = DETERMINISM[device]
    with using_device(device, PRECISION) as use:
        result = fit_scvi(
            counts.opened(),
            batches,
            task.settings.correction,
            n_latent=task.settings.expression.n_components,
            seed=task.settings.seed,
            genes=panel.tolist(),
            progress=task.progress,
            device=device,
        )
    warn_of_reduced_batch(task, task.settings.correction.scvi.batch_size, result.facts.get(BATCH_SIZE_REDUCED_TO))
    return result, use.facts()

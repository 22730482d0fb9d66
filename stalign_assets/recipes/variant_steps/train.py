"""`aestetik_model` and `spot_embeddings`: the model trained on corrected features, and its vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import KeyContext, Task, warn_of_reduced_batch
from stalign_assets.recipes.samples import RAW
from stalign_assets.recipes.variant_steps.inputs import grids_of, n_domains_of
from stalign_assets.rows import Rows, rows_of

if TYPE_CHECKING:
    import numpy as np

_MODEL_FOLDER: Final = "model"
EMBEDDING_PRECISION: Final = "32-true"
"""Vectors are made on the CPU, whatever the model was trained on, so that a spot's vector is the same everywhere."""


def model_settings(variant: str, context: KeyContext) -> Mapping[str, Any]:
    """The model's settings, and K, which decides how triplets are drawn."""
    return {"aestetik": context.settings.aestetik_of(variant).identity(), "n_domains": n_domains_of(context)}


def _model_inputs(task: Task, variant: str) -> tuple[Rows, dict[str, np.ndarray[Any, Any]]]:
    rows = rows_of(task.inputs[RAW], task.donors)
    stored = task.one(f"{task.scope}/{variant}/corrected_features")
    features = {donor: stored.arrays(f"{donor}.safetensors") for donor in task.donors}
    return rows, {
        "expression": rows.stack(features, "expression/"),
        "morphology": rows.stack(features, "morphology/"),
        "has_morphology": rows.stack(features, "has_morphology/"),
        "lattice": grids_of(task, rows)["lattice"],
        "hexagonal": _hexagonal(task, rows),
        "sample": rows.sample_codes,
    }


def _hexagonal(task: Task, rows: Rows) -> np.ndarray[Any, Any]:
    """Whether each spot lies on a hexagonal array; the grids, which depend on it, stand for it in the key."""
    import numpy as np

    kinds = [task.of_donor(RAW, donor).manifest.summary["samples"][sample]["lattice"] for donor, sample in rows.spans]
    sizes = [span.stop - span.start for span in rows.spans.values()]
    return np.repeat([kind == "hexagonal" for kind in kinds], sizes)


def train(variant: str, task: Task) -> None:
    """Train the model; a killed training goes on at the epoch where it stopped."""
    from stalign_core.aestetik import Aestetik
    from stalign_core.devices import DETERMINISM, resolve_device, using_device

    settings = task.settings.aestetik_of(variant)
    device = resolve_device(settings.device, "aestetik.device")
    task.builder.determinism = DETERMINISM[device]
    rows, arrays = _model_inputs(task, variant)
    model = Aestetik(settings, seed=task.settings.seed)
    with using_device(device, settings.precision) as use:
        model.fit(
            **arrays,
            batch=rows.donor_codes,
            n_domains=task.key_settings["n_domains"],
            progress=task.progress,
            checkpoint_folder=task.scratch,
        )
    warn_of_reduced_batch(task, settings.batch_size, model.batch_size_reduced_to)
    model.save(task.builder.folder(_MODEL_FOLDER))
    task.builder.record_folder(_MODEL_FOLDER)
    task.builder.summary.update(
        n_spots=len(arrays["expression"]),
        n_epochs=len(model.history),
        **use.facts(),
        **{name: round(value, 5) for name, value in model.history[-1].items()},
    )


def embed(variant: str, task: Task) -> None:
    """Embed every spot, one part per donor."""
    from stalign_core.aestetik import Aestetik
    from stalign_core.devices import using_device

    rows, arrays = _model_inputs(task, variant)
    stored = task.one(f"{task.scope}/{variant}/aestetik_model")
    model = Aestetik.load(stored.local_folder(_MODEL_FOLDER))
    with using_device("cpu", EMBEDDING_PRECISION) as use:
        embedding = model.embed(**arrays)
    for donor, parts in rows.split(embedding).items():
        task.builder.write_arrays(f"{donor}.safetensors", parts)
    task.builder.summary.update(n_spots=len(embedding), n_latent=int(embedding.shape[1]), **use.facts())

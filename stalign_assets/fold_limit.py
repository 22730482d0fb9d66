"""How many outer folds a machine can take at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stalign_assets.recipes.benchmark.trials import CORRECTIONS, TRIALS
from stalign_assets.recipes.samples import RAW
from stalign_assets.threads import available_cores

if TYPE_CHECKING:
    from stalign_assets.study import Study

_LIBRARIES_BYTES: Final = 1_500_000_000
_BYTES_PER_SPOT: Final = 150_000
"""Of a fold whose like was never measured, beside the libraries."""


def folds_at_once(study: Study, n_folds: int, free_bytes: int | None = None, *, on_gpu: bool | None = None) -> int:
    """Folds that may be at work at once: by settings or cores, by free memory, and on a GPU by its limit.

    Training and clustering use one thread each, so that a core is counted per fold, or as many as
    ``execution.threads`` says.

    Parameters
    ----------
    study, n_folds
        What is to be run.
    free_bytes, on_gpu
        Of this machine, unless given.
    """
    execution = study.settings.execution
    if execution.engine != "local" or n_folds < 2:
        return 1
    allowed = execution.folds or max(1, available_cores() // max(1, execution.threads))
    if allowed > 1 and (_on_gpu(study) if on_gpu is None else on_gpu):
        allowed = min(allowed, execution.gpu_limit)
    if not execution.folds:
        free = _free_bytes() if free_bytes is None else free_bytes
        allowed = min(allowed, free // bytes_of_fold(study))
    return max(1, min(allowed, n_folds))


def bytes_of_fold(study: Study) -> int:
    """Memory of a fold: the most that a trial or a correction of this study has taken, or an estimate by spots."""
    measured = [
        artifact.manifest.peak_memory_bytes
        for artifact in study.store.artifacts()
        if artifact.manifest.asset in (TRIALS, CORRECTIONS)
    ]
    if measured:
        return max(measured)
    raw = [study.store.current(RAW, donor) for donor in study.cohort.donors]
    spots = sum(int(artifact.manifest.summary["n_spots"]) for artifact in raw if artifact is not None)
    return _LIBRARIES_BYTES + spots * _BYTES_PER_SPOT


def _on_gpu(study: Study) -> bool:
    from stalign_core.devices import resolve_device

    settings = study.settings
    wanted = (
        ("aestetik.device", settings.aestetik.device),
        ("correction.scvi.device", settings.correction.scvi.device),
    )
    return any(resolve_device(device, name) == "cuda" for name, device in wanted)


def _free_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)

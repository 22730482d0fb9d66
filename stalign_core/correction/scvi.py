"""scVI, trained through scvi-tools on the panel's raw counts.

Training stops when the validation ELBO has not improved for some epochs. scvi-tools raises the weight of the
Kullback-Leibler term over 400 epochs, far more than such a run lasts, so the ELBO that stops it would be judged
while the latent space is still all but unregularised; here the weight is full after `WARMUP_EPOCHS`. The learning
rate is four times scvi-tools' own: on 14,364 spots and 3,000 genes it reaches in 17 epochs the validation ELBO that
the other reaches in 50, and training ends after 45.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.counts_on_disk import without_empty_rows
from stalign_core.correction.random_state import torch_state_kept
from stalign_core.correction.result import Batches, CorrectionResult, batch_codes
from stalign_core.correction.scvi_network import NETWORK, latent_means, weights_of
from stalign_core.devices import resolve_device
from stalign_core.errors import CorrectionError
from stalign_core.progress import Progress, silent

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from stalign_core.settings import CorrectionSettings, ScviSettings

WARMUP_EPOCHS: Final = 20
"""Epochs over which the Kullback-Leibler term reaches its full weight."""
GENE_LIKELIHOOD: Final = "zinb"
"""Zero-inflated negative binomial, scvi-tools' default."""
VALUES_PER_CHECK: Final = 1 << 18
"""Counts that are checked at a time."""
VALIDATION_ELBO: Final = "elbo_validation"
PRECISION: Final = "32-true"
"""Of the training, by Lightning's name."""
BATCH_SIZE_REDUCED_TO: Final = "batch_size_reduced_to"
"""Key of the facts, where the memory of the GPU did not hold the batches that were asked for."""
_FEWEST_PER_BATCH: Final = 16


def fit_scvi(
    counts: csr_matrix,
    batches: Batches,
    settings: CorrectionSettings,
    n_latent: int,
    seed: int,
    *,
    genes: list[str] | None = None,
    progress: Progress | None = None,
    device: str = "auto",
) -> CorrectionResult:
    """Train scVI and give every spot's latent mean.

    Parameters
    ----------
    counts
        Raw counts of the panel, (n_spots, n_genes), whole and non-negative; read in small blocks of rows, so that they
        may lie in files (`stalign_core.correction.counts_on_disk`). Float32 counts are not copied.
    batches
        (n_spots,) str.
    settings
        `settings.scvi` is used.
    n_latent
        Length of the latent space.
    seed
        Of initial weights, the split into training and validation spots, batches and dropout. On the CPU the same
        seed and thread count give the same result; on a GPU the order of sums may differ.
    genes
        The panel's keys, kept in the facts.
    progress
        Told of each epoch.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    CorrectionResult
        With the network's weights as arrays; `rebuild_scvi` makes the network of them and the facts.

    Raises
    ------
    CorrectionError
        If the counts are no raw counts, or there are fewer spots than latent dimensions, or training diverges.
    """
    import lightning.pytorch  # noqa: F401  # sets its logger's level, which must come before it is quietened
    import scvi  # noqa: F401  # sets environment variables that stay as long as it is loaded

    names, codes = batch_codes(batches, counts.shape[0], "scvi")
    counts = counts.tocsr()
    _check_counts(counts, n_latent)
    # A spot without counts has no library size to model; it gets its latent mean all the same.
    trainable = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() > 0)
    with torch_state_kept(), _quiet():
        spots = _anndata(_rows(counts, trainable), codes[trainable])
        network, history, fitted = _train_in_halves(
            spots, settings.scvi, n_latent, seed, progress or silent, _accelerator(device)
        )
        latent = latent_means(network, counts)
    if not np.isfinite(latent).all():
        raise CorrectionError("scvi", "gave values that are not finite", remedy="try another seed")
    facts: dict[str, Any] = {
        "corrected": len(names) > 1,
        "batches": names,
        "genes": genes,
        NETWORK: _sizes(counts.shape[1], int(spots.obs["batch"].nunique()), n_latent, settings.scvi),
        "n_epochs": len(history),
        "elbo_validation": history,
        "n_spots_trained": len(trainable),
    }
    if fitted.batch_size != settings.scvi.batch_size:
        facts[BATCH_SIZE_REDUCED_TO] = fitted.batch_size
    if len(names) == 1:
        facts["reason"] = "there is one batch only, so the latent space is learnt without correction"
    return CorrectionResult(latent, weights_of(network), facts)


def _check_counts(counts: csr_matrix, n_latent: int) -> None:
    n_spots, n_genes = counts.shape
    if n_spots <= n_latent or n_genes == 0:
        raise CorrectionError(
            "scvi",
            f"has {n_spots} spots and {n_genes} genes for {n_latent} latent dimensions",
            expected="more spots than dimensions",
            remedy="add samples or lower expression.n_components",
        )
    holds_counts = False
    for start in range(0, len(counts.data), VALUES_PER_CHECK):
        values: NDArray[Any] = counts.data[start : start + VALUES_PER_CHECK]
        if not np.isfinite(values).all() or (values < 0).any() or (values != np.floor(values)).any():
            raise CorrectionError("scvi", "got values that are no counts", expected="raw, whole, non-negative counts")
        holds_counts = holds_counts or bool(values.any())
    if not holds_counts:
        raise CorrectionError(
            "scvi",
            "got counts that are all zero",
            expected="some counts of the panel's genes",
            remedy="check the counts of the samples",
        )


def _rows(counts: csr_matrix, rows: NDArray[np.intp]) -> csr_matrix:
    """These rows, without a copy where they are all that hold an entry."""
    if len(rows) == np.count_nonzero(np.diff(counts.indptr)):
        return without_empty_rows(counts)
    return counts[rows]


def _sizes(n_genes: int, n_batches: int, n_latent: int, settings: ScviSettings) -> dict[str, Any]:
    return {
        "n_input": n_genes,
        "n_batch": n_batches,
        "n_labels": 1,
        "n_hidden": settings.n_hidden,
        "n_latent": n_latent,
        "n_layers": settings.n_layers,
        "gene_likelihood": GENE_LIKELIHOOD,
    }


def _anndata(counts: csr_matrix, codes: NDArray[np.int64]) -> AnnData:
    import anndata
    import pandas as pd

    batch = pd.Categorical(codes.astype(str))
    obs = pd.DataFrame({"batch": batch}, index=np.arange(counts.shape[0]).astype(str))
    return anndata.AnnData(counts.astype(np.float32, copy=False), obs=obs)


def _train_in_halves(
    spots: AnnData, settings: ScviSettings, n_latent: int, seed: int, progress: Progress, accelerator: str
) -> tuple[Any, list[float], ScviSettings]:
    """Train, from the beginning with batches of half the size whenever the memory of the GPU runs out.

    Returns
    -------
    The network, the validation ELBO of each epoch, and the settings that fitted.
    """
    import torch

    while True:
        try:
            return *_train(spots, settings, n_latent, seed, progress, accelerator), settings
        except torch.cuda.OutOfMemoryError as error:
            if settings.batch_size < 2 * _FEWEST_PER_BATCH:
                raise CorrectionError(
                    "correction.scvi.device",
                    f"GPU memory does not hold scVI and a batch of {settings.batch_size} spots",
                    remedy="set correction.scvi.device to 'cpu', or free the GPU of other programs",
                ) from error
        settings = settings.model_copy(update={"batch_size": settings.batch_size // 2})
        torch.cuda.empty_cache()


def _train(
    spots: AnnData, settings: ScviSettings, n_latent: int, seed: int, progress: Progress, accelerator: str
) -> tuple[Any, list[float]]:
    """The trained network in evaluation mode, and the validation ELBO of each epoch."""
    import scvi
    from lightning.pytorch.callbacks import EarlyStopping

    seed_before = scvi.settings.seed
    scvi.settings.seed = seed
    try:
        scvi.model.SCVI.setup_anndata(spots, batch_key="batch")
        model = scvi.model.SCVI(
            spots,
            n_hidden=settings.n_hidden,
            n_latent=n_latent,
            n_layers=settings.n_layers,
            gene_likelihood=GENE_LIKELIHOOD,
        )
        model.train(
            max_epochs=settings.max_epochs,
            accelerator=accelerator,
            devices=1,
            batch_size=settings.batch_size,
            plan_kwargs={"n_epochs_kl_warmup": WARMUP_EPOCHS, "lr": settings.learning_rate},
            check_val_every_n_epoch=1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            callbacks=[
                EarlyStopping(VALIDATION_ELBO, patience=settings.early_stopping_patience, mode="min"),
                _reporter(progress, settings.max_epochs),
            ],
        )
    except ValueError as error:
        # torch refuses a distribution whose parameters are no longer numbers.
        raise CorrectionError(
            "scvi", f"training diverged ({error})", remedy="try another seed, or fewer layers"
        ) from error
    finally:
        # The public setter would seed the global generators anew.
        scvi.settings._seed = seed_before
    history = model.history[VALIDATION_ELBO][VALIDATION_ELBO].astype(float).tolist()
    return model.module.eval(), history


def _reporter(progress: Progress, max_epochs: int) -> Any:
    from lightning.pytorch.callbacks import LambdaCallback

    def report(trainer: Any, _: Any) -> None:
        progress("scVI epochs", trainer.current_epoch + 1, max_epochs)

    return LambdaCallback(on_train_epoch_end=report)


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither Lightning's banner nor scvi-tools' advice on workers reaches the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "scvi")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _accelerator(device: str) -> str:
    """The device by Lightning's name."""
    return "gpu" if resolve_device(device, "correction.scvi.device") == "cuda" else "cpu"

"""Correct an embedding by the name of the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.registry import METHODS
from stalign_core.correction.result import Batches, CorrectionResult, Features
from stalign_core.errors import CorrectionError

if TYPE_CHECKING:
    from stalign_core.settings import CorrectionSettings


def correct_embedding(
    method: str, features: Features, batches: Batches, settings: CorrectionSettings, seed: int
) -> CorrectionResult:
    """Remove the batch from features of any modality.

    Parameters
    ----------
    method
        A name in `METHODS` that needs an embedding.
    features
        (n_spots, n_components).
    batches
        Batch of each spot, (n_spots,) str.
    settings
        Each method's own settings.
    seed
        Every random choice follows from it; no global state is changed.

    Returns
    -------
    CorrectionResult
        With one batch only, the features as they came and the reason in the facts.

    Raises
    ------
    CorrectionError
        If the method is unknown or needs counts, or these features cannot be corrected.
    """
    record = METHODS.get(method)
    if record is None or record.embedding is None:
        able = ", ".join(name for name, candidate in METHODS.items() if candidate.embedding is not None)
        raise CorrectionError("correction", f"'{method}' does not correct embeddings", expected=f"one of {able}")
    return record.embedding(features, batches, settings, seed)


def correct_where_present(
    method: str,
    features: Features,
    present: NDArray[np.bool_],
    batches: Batches,
    settings: CorrectionSettings,
    seed: int,
) -> CorrectionResult:
    """As `correct_embedding`, over the spots that hold a measurement; the others are zero and weigh nothing.

    Parameters
    ----------
    present
        (n_spots,), spots with a measurement; the rest as in `correct_embedding`.
    """
    corrected = np.zeros(features.shape, dtype=np.float32)
    if not present.any():
        return CorrectionResult(corrected, facts={"corrected": False, "reason": "no spot holds a measurement"})
    result = correct_embedding(method, features[present], batches[present], settings, seed)
    corrected[present] = result.features
    return CorrectionResult(corrected, result.arrays, result.facts)

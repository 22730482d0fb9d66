"""No correction: the baseline that every method is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.result import Batches, CorrectionResult, CorrectionTerms, Features, unchanged

if TYPE_CHECKING:
    from stalign_core.settings import CorrectionSettings


def correct(features: Features, batches: Batches, settings: CorrectionSettings, seed: int) -> CorrectionResult:  # noqa: ARG001
    """Return the features as they came; the unused parameters are those every method has."""
    return unchanged(features, "the method is 'uncorrected'")


def map_uncorrected(features: Features, terms: CorrectionTerms) -> NDArray[np.float32]:  # noqa: ARG001
    """Return the features of a new batch as they came."""
    return features.astype(np.float32)

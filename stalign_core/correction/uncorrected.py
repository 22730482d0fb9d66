"""No correction: the baseline that every method is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stalign_core.correction.result import Batches, CorrectionResult, Features, unchanged

if TYPE_CHECKING:
    from stalign_core.settings import CorrectionSettings


def correct(features: Features, batches: Batches, settings: CorrectionSettings, seed: int) -> CorrectionResult:  # noqa: ARG001
    """Return the features as they came; the unused parameters are those every method has."""
    return unchanged(features, "the method is 'uncorrected'")

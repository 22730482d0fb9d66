"""What every correction method gives back, and the checks that all of them make first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import CorrectionError

Features = NDArray[np.float32] | NDArray[np.float64]
Batches = NDArray[Any]


@dataclass(frozen=True, eq=False)
class CorrectionResult:
    """Corrected features, and what mapping new samples into their space needs.

    Attributes
    ----------
    features
        (n_spots, n_components) float32, rows in the order given.
    arrays
        By name; empty for a method that cannot map new samples.
    facts
        JSON-able; ``corrected`` says whether anything was done, ``reason`` why not.
    """

    features: NDArray[np.float32]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def terms(self) -> CorrectionTerms:
        """What is left of a correction once the features it was learnt from are gone."""
        return CorrectionTerms(self.arrays, self.facts)


@dataclass(frozen=True, eq=False)
class CorrectionTerms:
    """What a correction learnt, apart from the features it was learnt from.

    Attributes
    ----------
    arrays, facts
        As in `CorrectionResult`.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def unchanged(features: Features, reason: str) -> CorrectionResult:
    """The features as they came, saying why."""
    return CorrectionResult(features.astype(np.float32), facts={"corrected": False, "reason": reason})


def batch_codes(batches: Batches, n_spots: int, method: str) -> tuple[list[str], NDArray[np.int64]]:
    """Batch names in sorted order, and each spot's position among them (n_spots,).

    Raises
    ------
    CorrectionError
        If there is not one batch name per spot.
    """
    if batches.shape != (n_spots,):
        raise CorrectionError(method, f"got {batches.shape} batch names for {n_spots} spots", expected="one per spot")
    names, codes = np.unique(np.asarray(batches).astype(str), return_inverse=True)
    return names.tolist(), codes.astype(np.int64)


def check_features(features: Features, method: str) -> None:
    """Refuse features that no method can correct.

    Raises
    ------
    CorrectionError
        If they are no matrix, have fewer spots than components, or hold values that are not finite.
    """
    if features.ndim != 2:
        raise CorrectionError(method, f"got features of shape {features.shape}", expected="(n_spots, n_components)")
    n_spots, n_components = features.shape
    if n_spots <= n_components:
        raise CorrectionError(
            method,
            f"has {n_spots} spots for {n_components} components",
            expected="more spots than components",
            remedy="add samples or lower n_components",
        )
    _check_all_finite(features, method)


def check_new_features(features: Features, n_components: int, method: str) -> None:
    """Refuse features of a new batch that do not fit what was learnt.

    Raises
    ------
    CorrectionError
        If they are no matrix of so many components, or hold values that are not finite.
    """
    if features.ndim != 2 or features.shape[1] != n_components:
        raise CorrectionError(
            method, f"got features of shape {features.shape}", expected=f"{n_components} components, as fitted"
        )
    _check_all_finite(features, method)


def _check_all_finite(features: Features, method: str) -> None:
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        raise CorrectionError(
            method,
            f"got features that are not finite in {int(broken.sum())} spots, first row {int(broken.argmax())}",
            remedy="mark these spots as missing, or recompute their features",
        )

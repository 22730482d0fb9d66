"""Principal components of dense features (morphology, external embeddings), streamed, with rows that may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.expression.moments import Matrix, Moments, principal_axes
from stalign_core.expression.normalisation import ROWS_PER_BLOCK

Features = NDArray[np.float32] | NDArray[np.float64]


@dataclass(eq=False)
class DenseMoments:
    """Moments of the rows that are present, over the sections seen so far.

    Attributes
    ----------
    moments
        Of the features as given.
    n_missing
        Rows left out because they are missing.
    """

    moments: Moments
    n_missing: int = 0

    @staticmethod
    def empty(n_features: int) -> DenseMoments:
        """Moments of no section."""
        return DenseMoments(Moments.empty(n_features))

    def add_rows(self, features: Features, present: NDArray[np.bool_] | None = None, where: str = "features") -> None:
        """Take in the present rows of one section.

        Parameters
        ----------
        features
            (n_spots, n_features).
        present
            (n_spots,), rows that hold a measurement; all, when None.
        where
            What an error names: the sample, or its file.

        Raises
        ------
        InputDataError
            If the number of features differs from the sections before, or a present row is not finite.
        """
        usable = _checked(features, present, len(self.moments.mean), where)
        self.n_missing += int((~usable).sum())
        rows = np.flatnonzero(usable)
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            self.moments.add_rows(features[rows[start : start + ROWS_PER_BLOCK]].astype(np.float64))

    def merge(self, other: DenseMoments) -> None:
        """Take in the sections that `other` has seen."""
        self.moments.merge(other.moments)
        self.n_missing += other.n_missing


@dataclass(frozen=True, eq=False)
class DenseBasis:
    """Principal axes of standardised dense features.

    Attributes
    ----------
    means, deviations
        Of each feature over the fitted rows, (n_features,).
    components
        Unit rows, (n_components, n_features).
    explained_variance
        (n_components,).
    n_rows, n_missing
        Rows fitted, and rows left out.
    """

    means: Matrix
    deviations: Matrix
    components: Matrix
    explained_variance: Matrix
    n_rows: int
    n_missing: int

    @property
    def n_components(self) -> int:
        """Length of the space."""
        return len(self.components)

    def project(
        self, features: Features, present: NDArray[np.bool_] | None = None, where: str = "features"
    ) -> NDArray[np.float32]:
        """Principal components of one section, (n_spots, n_components) float32; missing rows are zero.

        Raises
        ------
        InputDataError
            If the number of features is not the fitted one, or a present row is not finite.
        """
        usable = _checked(features, present, len(self.means), where)
        scores = np.zeros((len(features), self.n_components), dtype=np.float32)
        axes = (self.components / self.deviations).T
        offset = self.means @ axes
        rows = np.flatnonzero(usable)
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[start : start + ROWS_PER_BLOCK]
            scores[block] = features[block].astype(np.float64) @ axes - offset
        return scores

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name and JSON-able facts, from which `from_arrays` rebuilds the basis."""
        arrays = {
            "means": self.means,
            "deviations": self.deviations,
            "components": self.components,
            "explained_variance": self.explained_variance,
        }
        return arrays, {"n_rows": self.n_rows, "n_missing": self.n_missing}

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> DenseBasis:
        """Rebuild what `to_arrays` gave."""
        return DenseBasis(
            arrays["means"],
            arrays["deviations"],
            arrays["components"],
            arrays["explained_variance"],
            facts["n_rows"],
            facts["n_missing"],
        )


def fit_dense_basis(seen: DenseMoments, n_components: int) -> DenseBasis:
    """Principal axes of the standardised features.

    There are at most as many components as features, and as rows present less one. Where fewer than two rows are
    present (a donor without any image) the space has its wanted length and every spot is zero in it, so that
    missing morphology stays missing instead of failing the donor.
    """
    moments = seen.moments
    n_features = len(moments.mean)
    wanted = min(n_components, n_features)
    deviations = moments.deviations()
    if moments.n_rows < 2:
        components, explained_variance = np.zeros((wanted, n_features)), np.zeros(wanted)
    else:
        covariance = moments.covariance()
        covariance /= deviations
        covariance /= deviations[:, None]
        components, explained_variance = principal_axes(covariance, min(wanted, moments.n_rows - 1))
    return DenseBasis(moments.mean.copy(), deviations, components, explained_variance, moments.n_rows, seen.n_missing)


def _checked(features: Features, present: NDArray[np.bool_] | None, n_features: int, where: str) -> NDArray[np.bool_]:
    if features.ndim != 2 or features.shape[1] != n_features:
        raise InputDataError(
            where, f"has shape {features.shape}", expected=f"{n_features} features per spot, as fitted"
        )
    usable = np.ones(len(features), dtype=bool) if present is None else np.asarray(present, dtype=bool)
    broken = usable & ~np.isfinite(features).all(axis=1)
    if broken.any():
        raise InputDataError(
            where,
            f"holds values that are not finite in {int(broken.sum())} spots, first row {int(broken.argmax())}",
            remedy="mark these spots as missing, or recompute their features",
        )
    return usable

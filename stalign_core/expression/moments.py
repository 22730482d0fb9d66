"""Mean and scatter of many rows, gathered block by block and merged: what a streamed PCA needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

NO_DEVIATION = 1e-10
"""A deviation below this share of the mean is rounding, not variation."""


@dataclass(eq=False)
class Moments:
    """Count, mean and scatter of rows seen so far.

    The scatter is kept about the mean, not about zero, so that no digits are lost where a column's mean is large
    beside its deviation. Memory is that of one (n_columns, n_columns) float64 matrix, whatever the number of rows.

    Attributes
    ----------
    n_rows
        Rows seen.
    mean
        Their mean, (n_columns,).
    scatter
        Sum over rows of the outer product of their distance to the mean, (n_columns, n_columns).
    """

    n_rows: int
    mean: Matrix
    scatter: Matrix

    @staticmethod
    def empty(n_columns: int) -> Moments:
        """Moments of no rows."""
        return Moments(0, np.zeros(n_columns), np.zeros((n_columns, n_columns)))

    def add_rows(self, rows: Matrix) -> None:
        """Take in a dense block, (n, n_columns); it is centred in place."""
        if len(rows) == 0:
            return
        mean = rows.mean(axis=0)
        rows -= mean
        self._take_in(len(rows), mean, rows.T @ rows)

    def merge(self, other: Moments) -> None:
        """Take in the rows that `other` has seen; `other` stays as it is."""
        if other.n_rows:
            self._take_in(other.n_rows, other.mean, other.scatter)

    def covariance(self) -> Matrix:
        """Unbiased covariance, (n_columns, n_columns); of fewer than two rows, zeros."""
        return self.scatter / max(self.n_rows - 1, 1)

    def deviations(self) -> Matrix:
        """Unbiased standard deviation of each column, 1 where a column does not vary, (n_columns,)."""
        return usable_deviations(np.diagonal(self.scatter) / max(self.n_rows - 1, 1), self.mean)

    def _take_in(self, n_rows: int, mean: Matrix, scatter: Matrix) -> None:
        """Merge two sets' moments (Chan, Golub & LeVeque 1979)."""
        total = self.n_rows + n_rows
        shift = mean - self.mean
        self.scatter += scatter
        self.scatter += np.outer(shift * (self.n_rows * n_rows / total), shift)
        self.mean = self.mean + shift * (n_rows / total)
        self.n_rows = total


def usable_deviations(variances: Matrix, means: Matrix) -> Matrix:
    """Standard deviations to divide by: 1 for a column that does not vary, (n_columns,)."""
    deviations: Matrix = np.sqrt(np.maximum(variances, 0))
    deviations[deviations <= NO_DEVIATION * np.abs(means)] = 1
    return deviations


def principal_axes(covariance: Matrix, n_components: int) -> tuple[Matrix, Matrix]:
    """The directions of largest variance.

    Parameters
    ----------
    covariance
        Symmetric, (n_columns, n_columns).
    n_components
        Directions wanted, at most n_columns.

    Returns
    -------
    components, explained_variance
        (n_components, n_columns), unit rows, each signed so that its largest entry by size is positive; and
        (n_components,), falling.
    """
    from scipy.linalg import eigh

    n_columns = len(covariance)
    variances, directions = eigh(covariance, subset_by_index=[n_columns - n_components, n_columns - 1])
    components = directions.T[::-1]
    largest = np.abs(components).argmax(axis=1)
    signs = np.where(components[np.arange(n_components), largest] < 0, -1.0, 1.0)
    return np.ascontiguousarray(components * signs[:, None]), np.maximum(variances[::-1], 0)

"""Counts over a gene panel, normalised to a library size and log-transformed, and their dense blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.expression.moments import Matrix, usable_deviations

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROWS_PER_BLOCK = 2048
"""Spots held dense at once: 49 MB over 3,000 genes."""


def panel_columns(genes: Sequence[str] | NDArray[np.object_], panel: NDArray[np.object_]) -> NDArray[np.int64]:
    """Column of each panel gene among `genes`, -1 where it is missing, (n_panel,)."""
    return np.asarray(pd.Index(np.asarray(genes, dtype=object)).get_indexer(pd.Index(panel)), dtype=np.int64)


def log_normalised(counts: csr_matrix, columns: NDArray[np.int64], target_sum: float) -> csr_matrix:
    """Library-size normalise over the given columns, then ``log(1 + x)``.

    Parameters
    ----------
    counts
        (n_spots, n_genes), any sparse format.
    columns
        Panel genes that the section has, in the panel's order, (n_present,).
    target_sum
        Sum of a spot's normalised counts over these columns; a spot without counts stays at zero.

    Returns
    -------
    csr_matrix
        (n_spots, n_present) float64.
    """
    values = counts.tocsr()[:, columns].astype(np.float64)
    library = np.asarray(values.sum(axis=1)).ravel()
    factor = np.divide(target_sum, library, out=np.zeros_like(library), where=library > 0)
    values.data = np.log1p(values.data * np.repeat(factor, np.diff(values.indptr)))
    return values


def column_statistics(values: csr_matrix) -> tuple[Matrix, Matrix]:
    """Mean and usable deviation of each column of a sparse matrix, both (n_columns,)."""
    n = values.shape[0]
    mean: Matrix = np.asarray(values.sum(axis=0)).ravel() / n
    squares = np.asarray(values.multiply(values).sum(axis=0)).ravel()
    return mean, usable_deviations((squares - n * mean**2) / max(n - 1, 1), mean)


def dense_blocks(values: csr_matrix) -> Iterator[Matrix]:
    """The rows as dense blocks of bounded size, in order."""
    for start in range(0, values.shape[0], ROWS_PER_BLOCK):
        yield values[start : start + ROWS_PER_BLOCK].toarray()

"""No step over counts holds a matrix of spots by genes that is dense."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from stalign_core.expression import normalisation
from stalign_core.expression.basis import ExpressionMoments, fit_expression_basis
from stalign_core.expression.gene_statistics import gene_histogram

N_GENES = 1_000
FEW, MANY = 5_000, 40_000
GENES = [f"g{number}" for number in range(N_GENES)]
ROWS_PER_BLOCK = 256


def section_of(n_spots: int) -> sparse.csr_matrix:
    """Counts of which one in a hundred is not zero."""
    rng = np.random.default_rng(0)
    counts = sparse.random(n_spots, N_GENES, 0.01, format="csr", rng=rng)
    counts.data = rng.integers(1, 5, counts.nnz)
    return counts.astype(np.int32)


def _statistics(counts: sparse.csr_matrix) -> None:
    gene_histogram(counts, GENES)


def _moments(counts: sparse.csr_matrix) -> ExpressionMoments:
    seen = ExpressionMoments.empty(GENES, 1e4, "sample")
    seen.add_sample("s", counts, GENES)
    return seen


def _projection(counts: sparse.csr_matrix) -> None:
    basis = fit_expression_basis(_moments(section_of(500)), 5)
    basis.project(counts, GENES, "s")


@pytest.mark.parametrize("step", [_statistics, _moments, _projection], ids=lambda step: step.__name__.strip("_"))
def test_memory_follows_the_counts_that_are_not_zero(
    step: Callable[[sparse.csr_matrix], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalisation, "ROWS_PER_BLOCK", ROWS_PER_BLOCK)
    step(section_of(500))
    peaks = []
    for counts in (section_of(FEW), section_of(MANY)):
        tracemalloc.start()
        try:
            step(counts)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # A byte for each place of the spots that came on top would be 35 MB; in double precision it would be 280.
    assert peaks[1] - peaks[0] < (MANY - FEW) * N_GENES

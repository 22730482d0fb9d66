from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from stalign_core.errors import InputDataError
from stalign_core.expression.gene_statistics import GeneHistogram, gene_histogram

COUNTS = csr_matrix(np.array([[0, 2, 0], [1, 2, 0], [0, 5, 0], [1, 0, 0]]))
GENES = ["b", "a", "never"]


def test_histogram_counts_how_often_each_value_occurs() -> None:
    histogram = gene_histogram(COUNTS, GENES)
    entries = zip(histogram.gene_index, histogram.count, histogram.n_spots_with_count, strict=True)
    assert [tuple(map(int, entry)) for entry in entries] == [(0, 1, 2), (1, 2, 2), (1, 5, 1)]
    assert histogram.n_spots == 4
    assert histogram.total.tolist() == [2, 9, 0]
    assert histogram.n_spots_seen.tolist() == [2, 3, 0]


def test_stored_zeros_and_the_sparse_format_change_nothing() -> None:
    stored = csr_matrix((np.array([0, 3]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    histogram = gene_histogram(csc_matrix(stored), ["x", "y"])
    assert histogram.n_spots_seen.tolist() == [0, 1]


def test_table_keeps_genes_never_seen_their_order_and_the_number_of_spots() -> None:
    frame = gene_histogram(COUNTS, GENES).to_frame()
    assert frame.columns.tolist() == ["gene", "count", "n_spots"]
    assert frame.groupby("gene")["n_spots"].sum().unique().tolist() == [4]
    again = GeneHistogram.from_frame(frame)
    assert again.genes.tolist() == GENES
    assert again.n_spots == 4
    pd.testing.assert_frame_equal(again.to_frame(), frame)


def test_restriction_follows_the_asked_order() -> None:
    histogram = gene_histogram(COUNTS, GENES).restricted_to(["a", "b"])
    assert histogram.total.tolist() == [9, 2]
    assert histogram.gene_index.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("counts", "genes", "said"),
    [
        (np.array([[1.5]]), ["a"], "fractional"),
        (np.array([[-1]]), ["a"], "negative"),
        (np.array([[np.nan]]), ["a"], "fractional"),
        (np.array([[1, 1]]), ["a", "a"], "gene a more than once"),
        (np.array([[1, 1]]), ["a"], "2 columns but 1 gene keys"),
        (np.zeros((0, 1)), ["a"], "0 spots"),
    ],
)
def test_unusable_counts_are_refused_in_one_line(counts: np.ndarray, genes: list[str], said: str) -> None:
    with pytest.raises(InputDataError, match=said) as caught:
        gene_histogram(csr_matrix(counts), genes, where="sample s1")
    assert str(caught.value).startswith("sample s1: ")
    assert "\n" not in str(caught.value)

"""Counts are checked and brought into one form; genes are named and shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from stalign_core.errors import InputDataError
from stalign_core.readers.counts import CountTable, make_count_table
from stalign_core.readers.genes import canonical_keys, key_space_of, share_genes
from tests.builders import ensembl_ids


def texts(*values: str | None) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array(values, dtype=object)


def table(counts: Any, genes: np.ndarray[Any, Any] | None = None, symbols: Any = None) -> CountTable:
    n_spots, n_genes = counts.shape
    genes = texts(*ensembl_ids(n_genes)) if genes is None else genes
    return make_count_table(
        "file.h5",
        counts,
        barcodes=texts(*(f"spot{i}" for i in range(n_spots))),
        genes=genes,
        symbols=genes if symbols is None else symbols,
    )


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, csc_matrix])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint16])
def test_counts_of_any_form_become_canonical_int32_csr(form: Any, kind: Any) -> None:
    counts = np.array([[0, 3, 1], [2, 0, 0]])
    read = table(form(counts.astype(kind))).counts
    assert isinstance(read, csr_matrix)
    assert read.dtype == np.int32
    assert read.has_canonical_format
    np.testing.assert_array_equal(read.toarray(), counts)


def test_unsorted_indices_and_stored_zeros_are_put_in_order() -> None:
    messy = csr_matrix((np.array([5, 0, 2]), np.array([2, 1, 0]), np.array([0, 3])), shape=(1, 3))
    read = table(messy).counts
    assert read.indices.tolist() == [0, 2]
    assert read.data.tolist() == [2, 5]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (1.5, "1 of 4 stored counts are not integers (first: 1.5)"),
        (-2.0, "1 of 4 stored counts are negative (first: -2.0)"),
        (np.nan, "1 of 4 stored counts are not finite (first: nan)"),
        (np.inf, "1 of 4 stored counts are not finite (first: inf)"),
        (3e9, "1 of 4 stored counts are above 2147483647 (first: 3000000000.0)"),
    ],
)
def test_values_that_are_no_counts_are_refused(bad: float, problem: str) -> None:
    with pytest.raises(InputDataError) as caught:
        table(np.array([[1.0, 2.0], [3.0, bad]]))
    assert (caught.value.where, caught.value.problem) == ("file.h5", problem)


def test_negative_integers_and_text_are_refused() -> None:
    with pytest.raises(InputDataError, match="negative"):
        table(np.array([[1, -1]]))
    with pytest.raises(InputDataError, match="values of type complex"):
        table(np.array([[1 + 1j]]))


def test_columns_with_one_gene_key_are_added_and_reported() -> None:
    read = table(np.array([[1, 2, 4], [0, 1, 8]]), texts("B", "A", "B"), texts("b1", "a", "b2"))
    assert read.genes.tolist() == ["B", "A"]
    assert read.symbols.tolist() == ["b1", "a"]
    np.testing.assert_array_equal(read.counts.toarray(), [[5, 2], [8, 1]])
    assert read.counts.has_canonical_format
    assert read.warnings == ("1 columns repeat a gene's key; their counts were added to its first column",)


def test_a_missing_symbol_gives_way_to_the_key() -> None:
    genes = texts(*ensembl_ids(3))
    assert table(np.ones((1, 3)), genes, texts("TP53", None, "")).symbols.tolist() == ["TP53", *genes[1:]]


def test_shapes_that_disagree_and_repeated_barcodes_are_refused() -> None:
    with pytest.raises(InputDataError, match="2 spots x 2 genes, but 2 barcodes and 3 genes"):
        table(np.ones((2, 2)), texts("A", "B", "C"))
    with pytest.raises(InputDataError, match=r"1 barcodes more than once \(first: x\)"):
        make_count_table("f", np.ones((2, 1)), barcodes=texts("x", "x"), genes=texts("A"), symbols=texts("A"))


def test_key_space_is_ensembl_where_most_keys_are_ids() -> None:
    assert key_space_of(texts("ENSG00000000003", "ENSMUSG00000051951.2", "EGFP")) == "ensembl"
    assert key_space_of(texts("FBgn0000003", "WBGene00000001")) == "ensembl"
    assert key_space_of(texts("TP53", "ENSA", "ENSG00000000003")) == "symbol"


def test_version_and_copy_mark_of_an_ensembl_id_are_dropped() -> None:
    keys = texts("ENSG00000000003.14", "ENSG00000182378.15_PAR_Y", "ENSG00000000005", "AC000.1", "NKX2-1")
    assert canonical_keys(keys).tolist() == [
        "ENSG00000000003",
        "ENSG00000182378",
        "ENSG00000000005",
        "AC000.1",
        "NKX2-1",
    ]


def test_shared_genes_are_those_of_every_sample_and_losses_are_counted() -> None:
    shared = share_genes({"s1": texts("C", "A", "B"), "s2": texts("B", "C", "D", "E"), "s3": texts("B", "C")}, "sheet")
    assert shared.genes.tolist() == ["B", "C"]
    assert shared.lost == {"s1": 1, "s2": 2, "s3": 0}


def test_a_cohort_that_mixes_key_spaces_is_refused_with_both_samples() -> None:
    with pytest.raises(InputDataError) as caught:
        share_genes({"s1": texts("TP53"), "s2": texts("ENSG00000000003")}, "samples.csv")
    assert caught.value.where == "samples.csv"
    assert "sample s1 has symbols (TP53), sample s2 Ensembl ids (ENSG00000000003)" in caught.value.problem


def test_samples_without_a_common_gene_are_refused() -> None:
    with pytest.raises(InputDataError, match="share no gene: none of the 1 genes of sample s3"):
        share_genes({"s1": texts("A", "B"), "s2": texts("B"), "s3": texts("A")}, "samples.csv")

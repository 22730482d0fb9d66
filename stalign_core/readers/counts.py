"""Raw counts of a section: checked, integer, one column per gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.genes import canonical_keys

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class CountTable:
    """Counts as read: `counts` CSR int32 (n_spots, n_genes) with sorted indices; barcodes (n_spots,); gene keys and
    symbols (n_genes,), keys unique; `warnings` say what was changed on the way."""

    counts: csr_matrix
    barcodes: NDArray[np.object_]
    genes: NDArray[np.object_]
    symbols: NDArray[np.object_]
    warnings: tuple[str, ...] = ()

    def of_spots(self, rows: NDArray[np.intp], barcodes: NDArray[np.object_]) -> CountTable:
        """The table of some spots, in the order given, under the barcodes given."""
        everything = len(rows) == self.counts.shape[0] and bool((rows == np.arange(len(rows))).all())
        counts = self.counts if everything else self.counts[rows]
        return CountTable(counts, barcodes, self.genes, self.symbols, self.warnings)


def make_count_table(
    where: str,
    counts: Any,
    *,
    barcodes: NDArray[np.object_],
    genes: NDArray[np.object_],
    symbols: NDArray[np.object_],
) -> CountTable:
    """Check a matrix of raw counts and bring it into the form that everything after it expects.

    Counts of columns with the same gene key are added: unlike numbered copies, the sum does not depend on the order of
    the file, so it joins with the same gene of other samples.

    Parameters
    ----------
    where
        The file, for errors.
    counts
        Sparse or dense, (n_spots, n_genes), any numeric type.

    Raises
    ------
    InputDataError
        If the shapes disagree, a barcode stands twice, or a value is no count: not finite, negative or fractional.
    """
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(counts)
    _check_shape(where, matrix.shape, len(barcodes), len(genes))
    _check_barcodes(where, barcodes)
    matrix = csr_matrix((_integers(where, matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
    matrix.sum_duplicates()
    if matrix.nnz and not matrix.data.all():
        matrix.eliminate_zeros()
    keys = canonical_keys(genes)
    named = np.where(pd.isna(symbols) | (symbols == ""), keys, symbols)
    return _merge_duplicates(CountTable(matrix, barcodes, keys, named))


def _check_shape(where: str, shape: tuple[int, int], n_barcodes: int, n_genes: int) -> None:
    if shape != (n_barcodes, n_genes):
        raise InputDataError(
            where,
            f"holds a matrix of {shape[0]} spots x {shape[1]} genes, but {n_barcodes} barcodes and {n_genes} genes",
            expected="one row per barcode and one column per gene",
            remedy="copy the file anew from its source",
        )


def _check_barcodes(where: str, barcodes: NDArray[np.object_]) -> None:
    repeated = pd.Index(barcodes).duplicated()
    if repeated.any():
        raise InputDataError(
            where,
            f"has {int(repeated.sum())} barcodes more than once (first: {barcodes[repeated.argmax()]})",
            expected="one row per spot",
            remedy="keep each section in a file of its own",
        )


def _integers(where: str, values: NDArray[Any]) -> NDArray[np.int32]:
    """`values` as int32, or the reason why they are no counts."""
    remedy = "give raw counts, not normalised ones (in an .h5ad: X or layers['counts'])"
    faults: list[tuple[str, NDArray[np.bool_]]] = []
    if values.dtype.kind == "f":
        faults.append(("not finite", ~np.isfinite(values)))
        faults.append(("not integers", values != np.rint(values)))
    elif values.dtype.kind not in "iub":
        raise InputDataError(where, f"holds values of type {values.dtype}", expected="counts", remedy=remedy)
    if values.dtype.kind != "b":
        faults.append(("negative", values < 0))
        faults.append((f"above {_LARGEST}", values > _LARGEST))
    for what, faulty in faults:
        if faulty.any():
            raise InputDataError(
                where,
                f"{int(faulty.sum())} of {len(values)} stored counts are {what} (first: {values[faulty.argmax()]})",
                expected="non-negative integers",
                remedy=remedy,
            )
    return values.astype(np.int32)


def _merge_duplicates(table: CountTable) -> CountTable:
    from scipy.sparse import csr_matrix

    code, unique = pd.factorize(table.genes)
    if len(unique) == len(table.genes):
        return table
    first = np.unique(code, return_index=True)[1]
    merged = csr_matrix(
        (table.counts.data, code[table.counts.indices].astype(np.int32), table.counts.indptr),
        shape=(table.counts.shape[0], len(unique)),
    )
    merged.sum_duplicates()
    line = f"{len(table.genes) - len(unique)} columns repeat a gene's key; their counts were added to its first column"
    return CountTable(merged, table.barcodes, unique, table.symbols[first], (*table.warnings, line))

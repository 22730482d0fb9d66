"""How often each count value occurs per gene: all that choosing genes needs to know of a section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

GENE = "gene"
COUNT = "count"
N_SPOTS = "n_spots"


@dataclass(frozen=True, eq=False)
class GeneHistogram:
    """Histogram of the counts of every gene of one section; zeros are implied by `n_spots`.

    Attributes
    ----------
    genes
        Gene keys in the section's order, (n_genes,) object.
    n_spots
        Spots of the section.
    gene_index
        Gene of each entry, as a position in `genes`, ascending; (n_entries,) int64.
    count
        Count value of each entry, above zero, ascending within a gene; (n_entries,) int64.
    n_spots_with_count
        Spots in which that gene has that count, (n_entries,) int64.
    """

    genes: NDArray[np.object_]
    n_spots: int
    gene_index: NDArray[np.int64]
    count: NDArray[np.int64]
    n_spots_with_count: NDArray[np.int64]

    @property
    def n_spots_seen(self) -> NDArray[np.int64]:
        """Spots in which each gene was seen at all, (n_genes,)."""
        return self.per_gene(self.n_spots_with_count)

    @property
    def total(self) -> NDArray[np.int64]:
        """Sum of the counts of each gene, (n_genes,)."""
        return self.per_gene(self.n_spots_with_count * self.count)

    def per_gene(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum the entries' values (n_entries,) gene by gene, (n_genes,); the dtype stays."""
        sums = np.zeros(len(self.genes), dtype=values.dtype)
        np.add.at(sums, self.gene_index, values)
        return sums

    def restricted_to(self, genes: Sequence[str] | NDArray[np.object_]) -> GeneHistogram:
        """The histogram of these genes alone, in this order.

        Raises
        ------
        InputDataError
            If a gene is not in the histogram.
        """
        position = pd.Index(self.genes).get_indexer(pd.Index(genes))
        if (position < 0).any():
            missing = np.asarray(genes, dtype=object)[position < 0]
            raise InputDataError(
                "gene statistics",
                f"lack {len(missing)} of the genes asked for, first {missing[0]}",
                expected="only genes that it counted",
            )
        new_index = np.full(len(self.genes), -1, dtype=np.int64)
        new_index[position] = np.arange(len(position))
        moved = new_index[self.gene_index]
        kept = np.flatnonzero(moved >= 0)
        kept = kept[np.argsort(moved[kept], kind="stable")]
        return GeneHistogram(
            genes=np.asarray(genes, dtype=object),
            n_spots=self.n_spots,
            gene_index=moved[kept],
            count=self.count[kept],
            n_spots_with_count=self.n_spots_with_count[kept],
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per gene and count value, zero included: so genes never seen and `n_spots` are kept."""
        n_genes = len(self.genes)
        zeros = self.n_spots - self.n_spots_seen
        index = np.concatenate([np.arange(n_genes), self.gene_index])
        count = np.concatenate([np.zeros(n_genes, dtype=np.int64), self.count])
        n_spots = np.concatenate([zeros, self.n_spots_with_count])
        order = np.argsort(index, kind="stable")
        return pd.DataFrame({GENE: self.genes[index[order]], COUNT: count[order], N_SPOTS: n_spots[order]})

    @staticmethod
    def from_frame(frame: pd.DataFrame) -> GeneHistogram:
        """Rebuild what `to_frame` wrote."""
        index, genes = pd.factorize(frame[GENE].to_numpy(dtype=object))
        count = frame[COUNT].to_numpy(dtype=np.int64)
        n_spots = frame[N_SPOTS].to_numpy(dtype=np.int64)
        seen = count > 0
        return GeneHistogram(
            genes=np.asarray(genes, dtype=object),
            n_spots=int(n_spots[index == 0].sum()),
            gene_index=index[seen].astype(np.int64),
            count=count[seen],
            n_spots_with_count=n_spots[seen],
        )


def gene_histogram(
    counts: csr_matrix, genes: Sequence[str] | NDArray[np.object_], where: str = "counts"
) -> GeneHistogram:
    """Count how often each value occurs per gene.

    Parameters
    ----------
    counts
        Whole, non-negative counts, (n_spots, n_genes), any sparse format.
    genes
        Gene keys, each once.
    where
        What an error names: the sample, or its file.

    Raises
    ------
    InputDataError
        If there is no spot or no gene, a gene occurs twice, or a count is negative or not whole.
    """
    keys = _checked_genes(counts.shape, genes, where)
    entries = counts.tocoo()
    values = _checked_counts(entries.data, where)
    seen = values > 0
    # One integer per (gene, count) pair turns the histogram into one sort of the nonzero entries.
    base = int(values.max(initial=0)) + 1
    pair, n_spots_with_count = np.unique(entries.col[seen].astype(np.int64) * base + values[seen], return_counts=True)
    return GeneHistogram(
        genes=keys,
        n_spots=int(counts.shape[0]),
        gene_index=pair // base,
        count=pair % base,
        n_spots_with_count=n_spots_with_count.astype(np.int64),
    )


def _checked_genes(
    shape: tuple[int, ...], genes: Sequence[str] | NDArray[np.object_], where: str
) -> NDArray[np.object_]:
    keys = np.asarray(genes, dtype=object)
    if shape[0] == 0 or shape[1] == 0:
        raise InputDataError(where, f"has {shape[0]} spots and {shape[1]} genes", expected="at least one of each")
    if len(keys) != shape[1]:
        raise InputDataError(
            where, f"has {shape[1]} columns but {len(keys)} gene keys", expected="one gene key for each column"
        )
    repeated = pd.Index(keys).duplicated()
    if repeated.any():
        raise InputDataError(
            where,
            f"holds gene {keys[repeated][0]} more than once",
            expected="each gene key once",
            remedy="sum or rename the repeated genes",
        )
    return keys


def _checked_counts(data: NDArray[Any], where: str) -> NDArray[np.int64]:
    values = np.where(np.isfinite(data), data, -1).astype(np.int64)
    if not np.array_equal(values, data) or (values < 0).any():
        raise InputDataError(
            where, "holds negative or fractional values", expected="raw counts", remedy="give unnormalised counts"
        )
    return values

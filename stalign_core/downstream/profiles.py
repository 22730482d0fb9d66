"""What each domain of a donor expresses, as sums over its spots: small, and enough for every comparison after it.

Counts are read section by section and never kept: all that is held of a donor is one row per domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import DownstreamError
from stalign_core.expression.normalisation import log_normalised, panel_columns

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Rows = NDArray[np.float64]

PRIOR_COUNT: Final = 0.5
"""Added to each count, as edgeR and limma-voom (Law et al. 2014) do, so that a gene that is never seen has a log."""


@dataclass(frozen=True, eq=False)
class DomainProfiles:
    """Sums over the spots of each domain of one donor.

    Attributes
    ----------
    domains
        (n_domains,) names, of domains that the donor has.
    genes, symbols
        (n_genes,) keys and names of the genes that all its sections have.
    n_spots
        (n_domains,) int64.
    library
        (n_domains,) int64, counts of all genes of the sections, shared or not.
    counts, detected
        (n_domains, n_genes) int64: counts, and spots with any.
    log_sum, log_square_sum
        (n_domains, n_genes) float64: sums of log-normalised expression, and of its squares.
    """

    domains: tuple[str, ...]
    genes: NDArray[np.object_]
    symbols: NDArray[np.object_]
    n_spots: NDArray[np.int64]
    library: NDArray[np.int64]
    counts: NDArray[np.int64]
    detected: NDArray[np.int64]
    log_sum: Rows
    log_square_sum: Rows

    def on_genes(self, genes: Sequence[str] | NDArray[np.object_]) -> DomainProfiles:
        """The profiles over some of their genes, in the order given."""
        columns = panel_columns(self.genes, np.asarray(genes, dtype=object))
        return DomainProfiles(
            domains=self.domains,
            genes=self.genes[columns],
            symbols=self.symbols[columns],
            n_spots=self.n_spots,
            library=self.library,
            counts=self.counts[:, columns],
            detected=self.detected[:, columns],
            log_sum=self.log_sum[:, columns],
            log_square_sum=self.log_square_sum[:, columns],
        )

    def log_ratio(self, position: int) -> Rows:
        """Log2 fold change of a domain against the rest of the donor's tissue, per gene, (n_genes,).

        Both sides are counts per million of their pooled spots; the prior count is shared out by library size, as
        edgeR does, so that a gene that neither side shows has a ratio of 1.
        """
        inside, outside = self.counts[position], self.counts.sum(axis=0) - self.counts[position]
        own, other = float(self.library[position]), float(self.library.sum() - self.library[position])
        mean = (own + other) / 2
        return np.asarray(
            np.log2((inside + PRIOR_COUNT * own / mean) / (own + 2 * PRIOR_COUNT * own / mean))
            - np.log2((outside + PRIOR_COUNT * other / mean) / (other + 2 * PRIOR_COUNT * other / mean))
        )

    def has_contrast(self, position: int, min_spots: int) -> bool:
        """Whether a domain and the rest of the donor's tissue both have enough spots, and any counts."""
        n_spots, library = self.n_spots[position], self.library[position]
        n_others, others = self.n_spots.sum() - n_spots, self.library.sum() - library
        return bool(min(n_spots, n_others) >= min_spots and min(library, others) > 0)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], pd.DataFrame, list[str]]:
        """The sums, the table of genes, and the names of the domains."""
        arrays = {name: getattr(self, name) for name in _SUMS}
        return arrays, pd.DataFrame({"gene": self.genes, "symbol": self.symbols}), list(self.domains)

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], genes: pd.DataFrame, domains: Sequence[str]
    ) -> DomainProfiles:
        """The profiles as `to_arrays` gave them."""
        return cls(
            domains=tuple(domains),
            genes=genes["gene"].to_numpy(dtype=object),
            symbols=genes["symbol"].to_numpy(dtype=object),
            **{name: arrays[name] for name in _SUMS},
        )


_SUMS: Final = ("n_spots", "library", "counts", "detected", "log_sum", "log_square_sum")


class ProfileSums:
    """Adds up the sections of one donor.

    Parameters
    ----------
    domains
        The donor's domains; spots of any other are an error of the caller.
    target_sum
        Library size per spot after normalisation.
    """

    def __init__(self, domains: Sequence[str], target_sum: float) -> None:
        self._domains = tuple(domains)
        self._target_sum = target_sum
        self._sum: DomainProfiles | None = None

    def add_section(
        self,
        counts: csr_matrix,
        genes: NDArray[np.object_],
        symbols: NDArray[np.object_],
        domain: NDArray[np.object_],
    ) -> None:
        """Add a section; genes that it or an earlier one lacks are dropped.

        Parameters
        ----------
        counts
            (n_spots, n_genes) raw counts.
        genes, symbols
            (n_genes,).
        domain
            (n_spots,) the domain of each spot.
        """
        added = self._profiles_of(counts.tocsr(), genes, symbols, domain)
        if self._sum is None:
            self._sum = added
            return
        known = set(added.genes)
        shared = [gene for gene in self._sum.genes if gene in known]
        before, after = self._sum.on_genes(shared), added.on_genes(shared)
        self._sum = DomainProfiles(
            domains=self._domains,
            genes=before.genes,
            symbols=before.symbols,
            **{name: getattr(before, name) + getattr(after, name) for name in _SUMS},
        )

    def result(self) -> DomainProfiles:
        """The sums over all sections that were added.

        Raises
        ------
        ValueError
            If none was.
        """
        if self._sum is None:
            raise ValueError("no section was added")
        return self._sum

    def _profiles_of(
        self,
        counts: csr_matrix,
        genes: NDArray[np.object_],
        symbols: NDArray[np.object_],
        domain: NDArray[np.object_],
    ) -> DomainProfiles:
        from scipy.sparse import csr_matrix

        codes = pd.Categorical(domain, categories=list(self._domains)).codes
        membership = csr_matrix(
            (np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(self._domains), len(codes))
        )
        logs = log_normalised(counts, np.arange(counts.shape[1]), self._target_sum)
        seen = counts.copy()
        seen.data = np.ones_like(seen.data)
        in_domain = membership @ counts.astype(np.float64)
        return DomainProfiles(
            domains=self._domains,
            genes=genes,
            symbols=symbols,
            n_spots=np.bincount(codes, minlength=len(self._domains)).astype(np.int64),
            library=np.asarray(in_domain.sum(axis=1)).ravel().astype(np.int64),
            counts=in_domain.toarray().astype(np.int64),
            detected=(membership @ seen.astype(np.float64)).toarray().astype(np.int64),
            log_sum=(membership @ logs).toarray(),
            log_square_sum=(membership @ logs.multiply(logs)).toarray(),
        )


def shared_profiles(profiles: Mapping[str, DomainProfiles]) -> dict[str, DomainProfiles]:
    """Profiles of several donors, over the genes that all of them have, sorted by key."""
    shared = set.intersection(*(set(each.genes) for each in profiles.values()))
    genes = sorted(shared)
    return {donor: each.on_genes(genes) for donor, each in profiles.items()}


def expressed_profiles(profiles: Mapping[str, DomainProfiles], min_counts: int) -> dict[str, DomainProfiles]:
    """Profiles over the genes that have at least so many counts over all donors.

    Raises
    ------
    DownstreamError
        If no gene has.
    """
    total = np.sum([each.counts.sum(axis=0) for each in profiles.values()], axis=0)
    genes = next(iter(profiles.values())).genes[total >= min_counts]
    if not len(genes):
        raise DownstreamError(
            "markers", f"no gene has {min_counts} counts over all donors", remedy="lower downstream.min_counts"
        )
    return {donor: each.on_genes(genes) for donor, each in profiles.items()}

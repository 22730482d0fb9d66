"""Which markers of a domain hold in every donor, and which in one alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.downstream.markers import MarkerRules
from stalign_core.downstream.profiles import DomainProfiles

Program = Literal["conserved", "shared", "donor-specific", "untold"]

PROGRAM_COLUMNS: Final = ("domain", "gene", "symbol", "n_donors", "n_significant", "program", "donors")


def marker_programs(
    profiles: Mapping[str, DomainProfiles], rules: MarkerRules, conserved_share: float = 0.8
) -> pd.DataFrame:
    """Count the donors in which each gene marks a domain.

    Within a donor a gene marks a domain if Welch's t test of log-normalised expression, spots of the domain against
    the others, holds the false discovery rate over the genes, and the fold change is large enough. Neighbouring spots
    resemble each other, so the single p is too small: what counts here is in how many donors it holds.

    Parameters
    ----------
    profiles
        Per donor, over the same genes.
    rules
        Which domains of a donor count, and what a marker is.
    conserved_share
        Share of the donors with the domain from which a marker is ``conserved``.

    Returns
    -------
    One row per domain and gene that marks it in one donor or more, the most widespread first, with the columns
    `PROGRAM_COLUMNS`. ``program`` is ``conserved``, ``donor-specific`` (one donor of two or more), ``shared``
    (between the two), or ``untold`` where one donor alone has the domain; ``donors`` names those it marks it in.
    """
    rows = []
    for domain in sorted({name for each in profiles.values() for name in each.domains}, key=natural_order):
        significant = {
            donor: _significant(each, each.domains.index(domain), rules)
            for donor, each in profiles.items()
            if domain in each.domains and each.has_contrast(each.domains.index(domain), rules.min_spots)
        }
        if significant:
            rows.append(_programs_of(domain, significant, next(iter(profiles.values())), conserved_share))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(PROGRAM_COLUMNS))


def _significant(
    profiles: DomainProfiles, position: int, rules: MarkerRules
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each gene marks the domain in this donor, (n_genes,)."""
    from scipy.stats import false_discovery_control, ttest_ind_from_stats

    n_inside = int(profiles.n_spots[position])
    n_outside = int(profiles.n_spots.sum()) - n_inside
    inside = _mean_and_deviation(profiles.log_sum[position], profiles.log_square_sum[position], n_inside)
    outside = _mean_and_deviation(
        profiles.log_sum.sum(axis=0) - profiles.log_sum[position],
        profiles.log_square_sum.sum(axis=0) - profiles.log_square_sum[position],
        n_outside,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        p = ttest_ind_from_stats(*inside, n_inside, *outside, n_outside, equal_var=False).pvalue
    # A gene without any variance, as one that is never seen, tells nothing.
    q = false_discovery_control(np.where(np.isfinite(p), p, 1.0))
    return np.asarray((q <= rules.fdr) & (profiles.log_ratio(position) >= rules.min_log2_fold_change))


def _mean_and_deviation(total: np.ndarray, squares: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    mean = total / n
    return mean, np.sqrt(np.maximum((squares - n * mean**2) / max(n - 1, 1), 0.0))


def _programs_of(
    domain: str,
    significant: Mapping[str, np.ndarray],
    genes: DomainProfiles,
    conserved_share: float,  # type: ignore[type-arg]
) -> pd.DataFrame:
    donors = list(significant)
    holds = np.stack(list(significant.values()))
    n_significant = holds.sum(axis=0)
    table = pd.DataFrame({"domain": domain, "gene": genes.genes, "symbol": genes.symbols})
    table["n_donors"] = len(donors)
    table["n_significant"] = n_significant
    table["program"] = [_program(int(n), len(donors), conserved_share) for n in n_significant]
    table["donors"] = [", ".join(np.array(donors, dtype=object)[column]) for column in holds.T]
    found = table[table["n_significant"] > 0]
    return found.sort_values(["n_significant", "gene"], ascending=[False, True])


def _program(n_significant: int, n_donors: int, conserved_share: float) -> Program:
    if n_donors < 2:
        return "untold"
    if n_significant == 1:
        return "donor-specific"
    return "conserved" if n_significant >= conserved_share * n_donors else "shared"

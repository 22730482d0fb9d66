"""Marker genes of each domain: across donors, where a donor is one observation, and within each donor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.domains.numbering import natural_order
from stalign_core.downstream.moderation import moderated_t
from stalign_core.downstream.profiles import DomainProfiles, expressed_profiles

FEWEST_DONORS: Final = 3
"""Fewer observations leave a variance that no test should rest on."""

MARKER_COLUMNS: Final = (
    *("domain", "gene", "symbol", "log2_fold_change", "t", "p", "q", "n_donors"),
    *("mean_expression", "mean_elsewhere", "share_of_spots", "share_elsewhere"),
)


@dataclass(frozen=True)
class MarkerRules:
    """What counts in a search for markers.

    Parameters
    ----------
    min_spots
        Spots that a domain, and the rest, must have in a donor for the donor to count.
    min_counts
        Counts that a gene must have over all donors.
    fdr
        False discovery rate (Benjamini and Hochberg 1995) up to which a gene is a marker.
    min_log2_fold_change
        How much more of it the domain must have.
    """

    min_spots: int = 10
    min_counts: int = 10
    fdr: float = 0.05
    min_log2_fold_change: float = 0.5


def find_markers(profiles: Mapping[str, DomainProfiles], rules: MarkerRules) -> pd.DataFrame:
    """Compare each domain with the rest of each donor's tissue, and test over the donors.

    The observation is a donor's log2 fold change of pooled counts per million; it is paired by nature, so a donor's own
    level cancels. The test is limma's moderated t (Smyth 2004). With fewer than `FEWEST_DONORS` donors that have the
    domain, effects are given without a test.

    Parameters
    ----------
    profiles
        Per donor, over the same genes.
    rules
        Which domains of a donor and which genes count.

    Returns
    -------
    One row per domain and gene, best first, with the columns `MARKER_COLUMNS`: by q and then by fold change, or, where
    nothing was tested, by the difference of mean log-normalised expression, since the largest fold changes are then
    those of genes that hardly any spot shows. Means of log-normalised expression and shares of spots that show the gene
    are means over the donors; t, p and q are missing where nothing was tested.

    Raises
    ------
    DownstreamError
        If no gene has enough counts.
    """
    kept = expressed_profiles(profiles, rules.min_counts)
    domains = sorted({name for each in profiles.values() for name in each.domains}, key=natural_order)
    tables = [_markers_of(kept, domain, rules) for domain in domains]
    found = [table for table in tables if len(table)]
    if not found:
        return pd.DataFrame({name: pd.Series(dtype=_DTYPES.get(name, float)) for name in MARKER_COLUMNS})
    return pd.concat(found, ignore_index=True)


def is_marker(markers: pd.DataFrame, rules: MarkerRules) -> pd.Series[bool]:
    """Which rows are markers; where nothing was tested, none is."""
    return (markers["q"] <= rules.fdr) & (markers["log2_fold_change"] >= rules.min_log2_fold_change)


_DTYPES: Final = {"domain": object, "gene": object, "symbol": object, "n_donors": np.int64}


def _markers_of(profiles: Mapping[str, DomainProfiles], domain: str, rules: MarkerRules) -> pd.DataFrame:
    usable = []
    for each in profiles.values():
        if domain in each.domains:
            position = each.domains.index(domain)
            if each.has_contrast(position, rules.min_spots):
                usable.append((each, position))
    if not usable:
        return pd.DataFrame()
    differences = np.stack([each.log_ratio(position) for each, position in usable])
    first = usable[0][0]
    table = pd.DataFrame({"domain": domain, "gene": first.genes, "symbol": first.symbols})
    table["log2_fold_change"] = differences.mean(axis=0)
    t = p = q = np.full(len(table), np.nan)
    tested = len(usable) >= FEWEST_DONORS
    if tested:
        from scipy.stats import false_discovery_control

        test = moderated_t(differences)
        t, p, q = test.t, test.p, false_discovery_control(test.p)
    table = table.assign(t=t, p=p, q=q, n_donors=len(usable), **_levels(usable))
    weight = table["log2_fold_change"] if tested else table["mean_expression"] - table["mean_elsewhere"]
    ordered = table.assign(weight=-weight).sort_values(["q", "weight", "gene"], na_position="last")
    return ordered[list(MARKER_COLUMNS)]


def _levels(usable: list[tuple[DomainProfiles, int]]) -> dict[str, NDArray[Any]]:
    """How strongly and how widely each gene is expressed in the domain and elsewhere, as means over the donors."""
    inside, outside, share_inside, share_outside = [], [], [], []
    for each, position in usable:
        n_inside = each.n_spots[position]
        n_outside = each.n_spots.sum() - n_inside
        inside.append(each.log_sum[position] / n_inside)
        outside.append((each.log_sum.sum(axis=0) - each.log_sum[position]) / n_outside)
        share_inside.append(each.detected[position] / n_inside)
        share_outside.append((each.detected.sum(axis=0) - each.detected[position]) / n_outside)
    return {
        "mean_expression": np.mean(inside, axis=0),
        "mean_elsewhere": np.mean(outside, axis=0),
        "share_of_spots": np.mean(share_inside, axis=0),
        "share_elsewhere": np.mean(share_outside, axis=0),
    }

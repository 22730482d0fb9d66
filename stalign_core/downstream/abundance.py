"""How much of the tissue each domain takes, and whether that differs between conditions, with donors as units."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.downstream.markers import FEWEST_DONORS
from stalign_core.errors import DownstreamError

Design = Literal["between donors", "within donors"]

DIFFERENCE_COLUMNS: Final = (
    *("domain", "condition", "reference", "design", "n_donors", "n_donors_reference"),
    *("share", "share_reference", "log_ratio", "t", "p", "q"),
)
_PRIOR_SPOTS: Final = 0.5
"""Added to each domain's spots: a domain that a donor lacks has a log all the same (Aitchison 1982, on zeros)."""


@dataclass(frozen=True)
class Comparison:
    """A pair of conditions that can be compared, the observations of each: (n_donors, n_domains) log ratios."""

    condition: str
    reference: str
    design: Design
    first: np.ndarray[Any, np.dtype[np.float64]]
    second: np.ndarray[Any, np.dtype[np.float64]]


def domain_abundance(samples: Any, donors: Any, domains: Any) -> pd.DataFrame:
    """Spots of each domain in each sample.

    Parameters
    ----------
    samples, donors, domains
        (n_spots,) names.

    Returns
    -------
    One row per sample and domain of the scope, domains that a sample lacks included: sample, donor, domain, n_spots,
    share (of the sample's spots).
    """
    spots = pd.DataFrame({"sample": samples, "donor": donors, "domain": domains}).astype(str)
    donor_of = spots.drop_duplicates("sample").set_index("sample")["donor"]
    order = sorted(spots["domain"].unique(), key=natural_order)
    table = pd.crosstab(spots["sample"], spots["domain"])[order]
    rows = table.reset_index().melt("sample", var_name="domain", value_name="n_spots")
    rows["donor"] = rows["sample"].map(donor_of)
    rows["share"] = rows["n_spots"] / rows.groupby("sample")["n_spots"].transform("sum")
    rows = rows.sort_values("sample", kind="stable", key=lambda names: names.map(natural_order))
    return rows[["sample", "donor", "domain", "n_spots", "share"]].reset_index(drop=True)


def abundance_differences(abundance: pd.DataFrame, conditions: Mapping[str, str]) -> pd.DataFrame:
    """Test whether domains take more of the tissue in one condition than in another.

    Shares add up to 1, so one domain that grows makes all others shrink; centred log ratios (Aitchison 1982) over the
    domains undo that. A donor is one observation: its spots of a condition are pooled. Where no donor has both
    conditions, they are compared by Welch's t test between donors; where some have both, by a paired t test within
    those. q is Benjamini and Hochberg's over all domains and pairs.

    Parameters
    ----------
    abundance
        From `domain_abundance`.
    conditions
        Per sample; samples without one, or an empty one, are left out.

    Returns
    -------
    One row per domain and pair of conditions that can be compared, with the columns `DIFFERENCE_COLUMNS`; shares are
    means over donors, ``log_ratio`` is the difference of the mean centred (natural) log ratios.

    Raises
    ------
    DownstreamError
        If there are not two conditions with three donors each, or three donors that have both, or fewer than two
        domains.
    """
    domains = sorted(abundance["domain"].unique(), key=natural_order)
    if len(domains) < 2:
        raise DownstreamError("domain abundance", f"has {len(domains)} domains", expected="two or more to compare")
    known = abundance.assign(condition=abundance["sample"].map(conditions).fillna(""))
    known = known[known["condition"] != ""]
    pooled = known.pivot_table(index=["condition", "donor"], columns="domain", values="n_spots", aggfunc="sum")
    pooled = pooled.reindex(columns=domains)
    comparisons = [found for pair in _pairs(pooled) if (found := _comparison(pooled, *pair)) is not None]
    if not comparisons:
        raise _too_few(pooled)
    table = pd.concat([_tested(each, pooled, domains) for each in comparisons], ignore_index=True)
    return _with_q(table)


def _pairs(pooled: pd.DataFrame) -> list[tuple[str, str]]:
    names = sorted(pooled.index.get_level_values("condition").unique(), key=natural_order)
    return [(second, first) for first, second in combinations(names, 2)]


def _comparison(pooled: pd.DataFrame, condition: str, reference: str) -> Comparison | None:
    first, second = (_log_ratios(_donors_of(pooled, name)) for name in (condition, reference))
    both = first.index.intersection(second.index)
    if len(both) >= FEWEST_DONORS:
        return Comparison(
            condition, reference, "within donors", first.loc[both].to_numpy(), second.loc[both].to_numpy()
        )
    if len(both) == 0 and min(len(first), len(second)) >= FEWEST_DONORS:
        return Comparison(condition, reference, "between donors", first.to_numpy(), second.to_numpy())
    return None


def _donors_of(pooled: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Spots of each domain, one row per donor that has the condition."""
    return pooled[pooled.index.get_level_values("condition") == condition].droplevel("condition")


def _log_ratios(spots: pd.DataFrame) -> pd.DataFrame:
    """Centred log ratios of each donor's composition."""
    logs = np.log(spots.to_numpy(dtype=np.float64) + _PRIOR_SPOTS)
    return pd.DataFrame(logs - logs.mean(axis=1, keepdims=True), index=spots.index)


def _tested(comparison: Comparison, pooled: pd.DataFrame, domains: list[str]) -> pd.DataFrame:
    from scipy import stats

    first, second = comparison.first, comparison.second
    within = comparison.design == "within donors"
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        # A domain that no donor of a condition has gives equal log ratios, of whose spread scipy warns.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        test = stats.ttest_rel(first, second) if within else stats.ttest_ind(first, second, equal_var=False)
    return pd.DataFrame(
        {
            "domain": domains,
            "condition": comparison.condition,
            "reference": comparison.reference,
            "design": comparison.design,
            "n_donors": len(first),
            "n_donors_reference": len(second),
            "share": _mean_shares(_donors_of(pooled, comparison.condition)),
            "share_reference": _mean_shares(_donors_of(pooled, comparison.reference)),
            "log_ratio": first.mean(axis=0) - second.mean(axis=0),
            "t": test.statistic,
            "p": test.pvalue,
        }
    )


def _mean_shares(spots: pd.DataFrame) -> Any:
    return spots.div(spots.sum(axis=1), axis=0).mean(axis=0).to_numpy()


def _with_q(table: pd.DataFrame) -> pd.DataFrame:
    from scipy.stats import false_discovery_control

    told = table["p"].notna()
    table["q"] = np.nan
    if told.any():
        table.loc[told, "q"] = false_discovery_control(table.loc[told, "p"])
    return table[list(DIFFERENCE_COLUMNS)]


def _too_few(pooled: pd.DataFrame) -> DownstreamError:
    counts = pooled.groupby(level="condition").size()
    found = ", ".join(f"{name}: {n}" for name, n in counts.items()) or "none"
    return DownstreamError(
        "domain abundance",
        f"conditions cannot be compared (donors per condition: {found})",
        expected=f"two conditions with {FEWEST_DONORS} donors each and no donor in both, "
        f"or {FEWEST_DONORS} donors with both",
        remedy="a donor is one observation: more sections of the same donors do not help",
    )

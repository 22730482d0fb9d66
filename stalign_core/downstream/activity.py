"""Pathway activity of each domain, by decoupler on a local network (Badia-i-Mompel et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.downstream.markers import FEWEST_DONORS
from stalign_core.downstream.network import SOURCE, TARGET, on_gene_keys
from stalign_core.errors import DownstreamError

if TYPE_CHECKING:
    from types import ModuleType

    from stalign_core.downstream.profiles import DomainProfiles

ActivityMethod = Literal["ulm", "mlm"]

ACTIVITY_COLUMNS: Final = ("domain", "pathway", "activity", "n_donors", "t", "p", "q")


def donor_activities(
    profiles: Mapping[str, DomainProfiles],
    network: pd.DataFrame,
    *,
    method: ActivityMethod = "ulm",
    min_spots: int = 10,
    min_targets: int = 5,
) -> pd.DataFrame:
    """Activity of each pathway in each domain of each donor, from the domain's log2 fold changes.

    Parameters
    ----------
    profiles
        Per donor, over the same genes.
    network
        From `read_network`.
    method
        decoupler's univariate (``ulm``) or multivariate (``mlm``) linear model; the score is the t value of a
        pathway's weights in a regression of the fold changes.
    min_spots
        Spots that a domain, and the rest, must have in a donor.
    min_targets
        Pathways with fewer targets among the genes are left out.

    Returns
    -------
    Columns domain, donor, pathway, activity.

    Raises
    ------
    DownstreamError
        If decoupler is not installed, or no pathway has enough targets.
    """
    decoupler = _decoupler()
    first = next(iter(profiles.values()))
    targeted = on_gene_keys(network, first.genes, first.symbols)
    n_targets = targeted.groupby(SOURCE).size()
    if not (n_targets >= min_targets).any():
        raise DownstreamError(
            "pathway network",
            f"no pathway has {min_targets} targets among the cohort's {len(first.genes)} genes "
            f"({targeted[TARGET].nunique()} of {network[TARGET].nunique()} targets are there)",
            remedy="name targets as the samples name their genes, or lower downstream.min_targets",
        )
    places, changes = _fold_changes(profiles, min_spots)
    if not places:
        return pd.DataFrame(columns=["domain", "donor", "pathway", "activity"])
    score = {"ulm": decoupler.mt.ulm, "mlm": decoupler.mt.mlm}[method]
    scores: pd.DataFrame = score(changes, targeted, tmin=min_targets)[0].loc[changes.index]
    found = pd.DataFrame(places, columns=["domain", "donor"])
    found[scores.columns] = scores.to_numpy()
    return found.melt(["domain", "donor"], var_name="pathway", value_name="activity")


def domain_activities(activities: pd.DataFrame) -> pd.DataFrame:
    """Mean activity per domain and pathway, tested over the donors.

    Parameters
    ----------
    activities
        From `donor_activities`.

    Returns
    -------
    Columns `ACTIVITY_COLUMNS`: a one-sample t test over the donors, q by Benjamini and Hochberg over everything tested;
    missing with fewer than three donors.
    """
    from scipy import stats

    rows = []
    for (domain, pathway), found in activities.groupby(["domain", "pathway"]):
        values = found["activity"].to_numpy()
        test = stats.ttest_1samp(values, 0.0) if len(values) >= FEWEST_DONORS else None
        row = (str(domain), str(pathway), float(values.mean()), len(values))
        rows.append((*row, *((np.nan, np.nan) if test is None else (float(test.statistic), float(test.pvalue)))))
    table = pd.DataFrame(rows, columns=list(ACTIVITY_COLUMNS[:-1]))
    table["q"] = np.nan
    told = table["p"].notna()
    if told.any():
        table.loc[told, "q"] = stats.false_discovery_control(table.loc[told, "p"])
    place = table["domain"].map(natural_order)
    return table.assign(place=place).sort_values(["place", "pathway"]).drop(columns="place").reset_index(drop=True)


def _fold_changes(profiles: Mapping[str, DomainProfiles], min_spots: int) -> tuple[list[tuple[str, str]], pd.DataFrame]:
    """Domains and donors that have a contrast, and the log2 fold changes of each, (n_places, n_genes)."""
    rows = {
        (domain, donor): each.log_ratio(position)
        for donor, each in profiles.items()
        for position, domain in enumerate(each.domains)
        if each.has_contrast(position, min_spots)
    }
    genes = next(iter(profiles.values())).genes
    values = np.stack(list(rows.values())) if rows else np.empty((0, len(genes)))
    # decoupler takes texts for names of rows, and a pair of texts for none.
    return list(rows), pd.DataFrame(values, index=[str(number) for number in range(len(rows))], columns=genes)


def _decoupler() -> ModuleType:
    from matplotlib import rc_context

    try:
        # What it imports sets how matplotlib draws legends: pictures of this process would not be those of another.
        with rc_context():
            import decoupler
    except ImportError:
        raise DownstreamError(
            "pathway activity", "needs decoupler, which is not installed", remedy="pip install 'stalign[downstream]'"
        ) from None
    module: ModuleType = decoupler
    return module

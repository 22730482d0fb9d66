"""Heat map of pathway activity: pathways by domains, red where more active than in a donor's other spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.plots.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def activity_map(activities: pd.DataFrame, fdr: float) -> Figure:
    """Draw the activity of each pathway in each domain; what passes the test over the donors bears a star.

    Parameters
    ----------
    activities
        Columns domain, pathway, activity and q (missing where donors are too few), as
        `stalign_core.downstream.domain_activities` gives them.
    fdr
        False discovery rate up to which a star is given.
    """
    activities = activities.assign(domain=activities["domain"].astype(str))
    domains = sorted(activities["domain"].unique(), key=natural_order)
    mean = activities.pivot_table(index="pathway", columns="domain", values="activity", sort=False)[domains]
    values = mean.to_numpy()
    figure = new_figure(3.0 + 0.6 * len(domains), 1.2 + 0.3 * len(mean))
    ax = figure.subplots()
    largest = float(np.nanmax(np.abs(values))) or 1.0
    drawn = ax.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    pathways = list(mean.index)
    for row in activities[activities["q"] <= fdr].itertuples():
        ax.text(domains.index(str(row.domain)), pathways.index(row.pathway), "*", ha="center", va="center")
    ax.set_xticks(np.arange(len(domains)), domains)
    ax.set_yticks(np.arange(len(pathways)), pathways)
    ax.set_xlabel("domain")
    figure.colorbar(drawn, ax=ax, label="activity (t), mean over donors")
    return figure

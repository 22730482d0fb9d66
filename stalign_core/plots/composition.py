"""How much of each sample each domain is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stalign_core.plots.canvas import add_legend, legend_width, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def composition_bars(shares: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    """Draw one bar per row, split by column.

    Parameters
    ----------
    shares
        Rows are samples, columns domains, values shares that add to 1 in each row.
    colors
        Of the domains.
    """
    figure = new_figure(8.0 + legend_width(["domain", *colors]), 0.8 + 0.24 * len(shares))
    ax = figure.subplots()
    left = np.zeros(len(shares))
    for domain in shares.columns:
        values = shares[domain].to_numpy(dtype=float)
        ax.barh(np.arange(len(shares)), values, left=left, color=colors[str(domain)], height=0.8)
        left += values
    ax.set_yticks(np.arange(len(shares)), [str(name) for name in shares.index], fontsize=10)
    ax.set_ylim(len(shares) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of spots")
    ax.spines[["top", "right"]].set_visible(False)
    add_legend(figure, "domain", dict(colors))
    return figure

"""Dot plot of marker genes: colour for mean expression, size for the share of spots that express them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.plots.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST_DOT: Final = 110.0
_SHOWN_SHARES: Final = {"25 %": 0.25, "50 %": 0.5, "100 %": 1.0}
_LEGEND_WIDTH: Final = 1.3
"""Inches."""


def leading_markers(markers: pd.DataFrame, per_domain: int = 5, min_log2_fold_change: float = 0.5) -> list[str]:
    """Genes to draw, domains in natural order, none twice: each domain's markers of largest t, or, where nothing was
    tested, its first genes of the table.

    Parameters
    ----------
    markers
        Columns domain, gene, log2_fold_change, t, is_marker, ordered as `stalign_core.downstream` gives them.
    per_domain
        How many of each domain.
    min_log2_fold_change
        That a gene without a test must have.
    """
    chosen: list[str] = []
    for domain in sorted(markers["domain"].astype(str).unique(), key=natural_order):
        rows = markers[markers["domain"].astype(str) == domain]
        if rows["t"].notna().any():
            ranked = rows[rows["is_marker"]].sort_values("t", ascending=False)["gene"]
        else:
            ranked = rows[rows["log2_fold_change"] >= min_log2_fold_change]["gene"]
        chosen += [gene for gene in ranked if gene not in chosen][:per_domain]
    return chosen


def marker_dots(markers: pd.DataFrame, genes: list[str]) -> Figure:
    """Draw `genes` (columns) in every domain (rows); expression is scaled from least to most in each gene.

    Parameters
    ----------
    markers
        Columns domain, gene, symbol, mean_expression, share_of_spots; a row for each domain and gene.
    genes
        Keys of the genes, in order.
    """
    domains = sorted(markers["domain"].astype(str).unique(), key=natural_order)
    rows = markers[markers["gene"].isin(genes)].assign(domain=lambda table: table["domain"].astype(str))
    mean = rows.pivot_table(index="domain", columns="gene", values="mean_expression").reindex(domains)[genes]
    share = rows.pivot_table(index="domain", columns="gene", values="share_of_spots").reindex(domains)[genes]
    spread = (mean.max() - mean.min()).replace(0, 1)
    scaled = ((mean - mean.min()) / spread).to_numpy()
    figure = new_figure(1.6 + _LEGEND_WIDTH + 0.3 * len(genes), 1.7 + 0.34 * len(domains))
    ax = figure.subplots()
    x, y = np.meshgrid(np.arange(len(genes)), np.arange(len(domains)))
    size = np.nan_to_num(share.to_numpy()) * _LARGEST_DOT
    dots = ax.scatter(x.ravel(), y.ravel(), s=size.ravel(), c=scaled.ravel(), cmap="Reds", edgecolors="#999", lw=0.4)
    symbols = rows.drop_duplicates("gene").set_index("gene")["symbol"]
    ax.set_xticks(np.arange(len(genes)), [str(symbols[gene]) for gene in genes], rotation=90, fontsize=9)
    ax.set_yticks(np.arange(len(domains)), domains)
    ax.set_xlim(-0.7, len(genes) - 0.3)
    ax.set_ylim(len(domains) - 0.5, -0.5)
    ax.set_ylabel("domain")
    figure.colorbar(dots, ax=ax, label="mean expression, least to most", shrink=0.7)
    _explain_sizes(figure)
    return figure


def _explain_sizes(figure: Figure) -> None:
    """Name the sizes of the dots to the right of them."""
    from matplotlib.lines import Line2D

    handles = [
        # The size of a scattered dot is an area, that of a line's marker a diameter; both in points.
        Line2D([], [], linestyle="", marker="o", markersize=math.sqrt(share * _LARGEST_DOT), color="#999", label=name)
        for name, share in _SHOWN_SHARES.items()
    ]
    figure.legend(handles=handles, title="share of spots", loc="outside right upper", frameon=False)

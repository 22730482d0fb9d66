"""Metrics of the variants side by side: correction alone, and with AESTETIK."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from stalign_core.plots.canvas import add_legend, new_figure, to_png
from stalign_core.plots.palette import color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRIC_TITLES: Final[Mapping[str, str]] = {
    "ari": "ARI with labels ↑",
    "nmi": "NMI with labels ↑",
    "silhouette": "silhouette of labels ↑",
    "ilisi": "iLISI ↑",
    "kbet": "kBET acceptance ↑",
    "composite": "composite ↑",
    "ari_donor": "ARI with donors ↓",
    "chaos": "CHAOS, in spot spacings ↓",
    "pas": "PAS ↓",
}
"""What each panel is called, and whether more or less is better."""

_N_COLUMNS: Final = 3


def metric_bars(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("ari", "nmi", "silhouette", "ilisi", "kbet", "ari_donor"),
    step_names: Mapping[str, str] | None = None,
    title: str = "",
) -> bytes:
    """Draw one panel per metric, one pair of bars per variant.

    Several values of one variant, step and metric (seeds, donors) are drawn as dots, and the bar is their mean.

    Parameters
    ----------
    table
        Columns variant, step, metric, value; variants and steps are drawn in order of first appearance.
    metrics
        Which to draw; those that the table lacks are left out.
    step_names
        How the legend calls each step; the step itself where it is not named.
    title
        Above all panels.

    Returns
    -------
    PNG bytes.

    Raises
    ------
    ValueError
        If the table holds none of the metrics.
    """
    drawn = [metric for metric in metrics if (table["metric"] == metric).any()]
    if not drawn:
        raise ValueError("the table holds none of the metrics " + ", ".join(metrics))
    variants, steps = list(table["variant"].unique()), list(table["step"].unique())
    colors = color_map(steps)
    n_columns = min(_N_COLUMNS, len(drawn))
    n_rows = math.ceil(len(drawn) / n_columns)
    panel_height = 0.7 + 0.26 * len(steps) * len(variants)
    figure = new_figure(3.4 * n_columns + 1.8, panel_height * n_rows + bool(title) * 0.4)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    for ax, metric in zip(axes, drawn, strict=False):
        _draw_metric(ax, table[table["metric"] == metric], variants, colors)
        ax.set_title(METRIC_TITLES.get(metric, metric), loc="left", fontsize=11)
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    names = step_names or {}
    add_legend(figure, "", {names.get(step, step): color for step, color in colors.items()})
    return to_png(figure)


def _draw_metric(ax: Axes, rows: pd.DataFrame, variants: list[str], colors: dict[str, str]) -> None:
    height = 0.8 / len(colors)
    largest = max(float(rows["value"].max()), 1e-9)
    for position, (step, color) in enumerate(colors.items()):
        offset = (position - (len(colors) - 1) / 2) * height
        for place, variant in enumerate(variants):
            values = rows.loc[(rows["step"] == step) & (rows["variant"] == variant), "value"].to_numpy(float)
            if len(values):
                _draw_bar(ax, values, place + offset, height, color, label_gap=0.02 * largest)
    ax.set_xlim(min(0.0, 1.1 * float(rows["value"].min())), 1.22 * largest)
    ax.set_yticks(np.arange(len(variants)), variants)
    ax.set_ylim(len(variants) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=4)
    ax.grid(axis="x", color="#E5E5E5")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_bar(
    ax: Axes,
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
    place: float,
    height: float,
    color: str,
    label_gap: float,
) -> None:
    mean = float(values.mean())
    ax.barh(place, mean, height=0.92 * height, color=color)
    if len(values) > 1:
        ax.plot(values, np.full(len(values), place), linestyle="", marker="o", markersize=3, color="#222222")
    end = max(0.0, float(values.max()) if len(values) > 1 else mean)
    ax.text(end + label_gap, place, f"{mean:.2f}", va="center", ha="left", fontsize=8)

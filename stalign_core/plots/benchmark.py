"""Figures of the paper's study: bars of arms side by side, and curves over a hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stalign_core.plots.canvas import add_legend, new_figure, to_png
from stalign_core.plots.palette import color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grouped_bars(
    values: pd.DataFrame, *, panel: str, place: str, series: str, axis: str, titles: Mapping[str, str], title: str = ""
) -> bytes:
    """One panel per value of a column, one group of bars per place, one bar per series; every value is a dot.

    Parameters
    ----------
    values
        One row per measurement: the columns named below, and ``value``.
    panel, place, series
        Columns.
    axis
        What the values are.
    titles
        How panels and series are called; by their own names where none is given.
    title
        Above all panels.

    Returns
    -------
    PNG bytes.
    """
    panels, places, names = (list(dict.fromkeys(values[column])) for column in (panel, place, series))
    colors = color_map(names)
    figure = new_figure(max(3.6, 1.1 * len(places)) * len(panels) + 2.4, 3.8)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    width = 0.8 / len(names)
    for ax, name in zip(axes, panels, strict=True):
        of_panel = values[values[panel] == name]
        for position, one in enumerate(names):
            for where, each in enumerate(places):
                found = of_panel.loc[(of_panel[series] == one) & (of_panel[place] == each), "value"].dropna()
                if len(found):
                    _bar(
                        ax, found.to_numpy(float), where + (position - (len(names) - 1) / 2) * width, width, colors[one]
                    )
        ax.set_xticks(np.arange(len(places)), [titles.get(each, each) for each in places], rotation=20, ha="right")
        ax.set_title(titles.get(name, name), loc="left", fontsize=11)
        _clean(ax)
    axes[0].set_ylabel(axis)
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    add_legend(figure, "", {titles.get(name, name): color for name, color in colors.items()})
    return to_png(figure)


def hyperparameter_curves(
    values: pd.DataFrame,
    *,
    row: str,
    panels: Sequence[str],
    series: str,
    axis: str,
    titles: Mapping[str, str],
    title: str = "",
) -> bytes:
    """One panel per hyperparameter, in a row for each value of a column: means over it, and every value as a dot.

    Parameters
    ----------
    values
        Columns ``parameter``, ``setting`` (a number), ``value``, `row` and `series`.
    row
        Column that tells the rows of panels apart.
    panels
        Names of the hyperparameters.
    series
        Column that tells the curves apart.
    axis, titles, title
        As in `grouped_bars`.

    Returns
    -------
    PNG bytes.
    """
    rows, names = (list(dict.fromkeys(values[column])) for column in (row, series))
    colors = color_map(names)
    figure = new_figure(4.2 * len(panels) + 2.0, 3.6 * len(rows))
    axes = figure.subplots(len(rows), len(panels), squeeze=False, sharey=True)
    for of_row, one in zip(axes, rows, strict=True):
        for ax, parameter in zip(of_row, panels, strict=True):
            of_panel = values[(values[row] == one) & (values["parameter"] == parameter)]
            _curves(ax, of_panel, series, colors)
            ax.set_title(titles.get(one, one), loc="left", fontsize=11)
            ax.set_xlabel(titles.get(parameter, parameter))
            ax.set_ylabel(axis)
            _clean(ax)
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    add_legend(figure, "", {titles.get(name, name): color for name, color in colors.items()})
    return to_png(figure)


def _curves(ax: Axes, of_panel: pd.DataFrame, series: str, colors: Mapping[str, str]) -> None:
    for name, color in colors.items():
        found = of_panel[of_panel[series] == name]
        means = found.groupby("setting")["value"].mean()
        ax.plot(means.index, means.to_numpy(), color=color, linewidth=1.8)
        ax.plot(found["setting"], found["value"], linestyle="", marker="o", markersize=3.5, color=color)
    ax.set_xticks(sorted(set(of_panel["setting"])))


def _bar(ax: Axes, found: np.ndarray[tuple[int], np.dtype[np.float64]], where: float, width: float, color: str) -> None:
    mean = float(found.mean())
    ax.bar(where, mean, width=0.92 * width, color=color)
    if len(found) > 1:
        ax.plot(np.full(len(found), where), found, linestyle="", marker="o", markersize=2.5, color="#222222")
    ax.text(where, max(0.0, float(found.max())) + 0.01, f"{mean:.2f}", ha="center", va="bottom", fontsize=7)


def _clean(ax: Axes) -> None:
    ax.grid(axis="y", color="#E5E5E5")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)

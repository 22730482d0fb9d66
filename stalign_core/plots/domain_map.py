"""The tissue of every sample, each spot in the colour of its domain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.plots.canvas import add_legend, legend_entries, legend_width, new_figure, to_png, with_missing
from stalign_core.plots.palette import MISSING_COLOR, color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PAGE_WIDTH: Final = 12.0
_LARGEST_PANEL: Final = 4.0
_PAGE_SHAPE: Final = 1.6
"""Width over height that the grid of panels aims at."""

_MARKER_OVERLAP: Final = 2 / math.sqrt(3)
"""Marker over spacing: circles of this size just cover a hexagonal lattice."""

_TITLE_HEIGHT: Final = 0.3
_FONT_SIZES: Final = (5.0, 10.0)
_CHARACTER_WIDTH: Final = 0.62
"""Of the mean character, in font sizes."""


def domain_map(
    positions: npt.NDArray[Any],
    domains: Any,
    samples: Any,
    *,
    donors: Any = None,
    title: str = "",
    legend_title: str = "domain",
) -> bytes:
    """Draw all samples of a partition side by side.

    A domain has one colour in all samples. Axes have equal scales, y runs downwards as in the image, and a marker is as
    wide as the distance between neighbouring spots. Expert labels can be drawn alike.

    Parameters
    ----------
    positions
        (n_spots, 2) x and y.
    domains
        (n_spots,) names; missing ones are grey.
    samples
        (n_spots,) samples, drawn by donor and then by name.
    donors
        (n_spots,) donors, named above the panels where there are several.
    title
        Above all panels.
    legend_title
        What the colours mean.

    Returns
    -------
    PNG bytes.
    """
    spots = pd.DataFrame({"sample": np.asarray(samples).astype(str), "group": np.asarray(domains, dtype=object)})
    spots["donor"] = "" if donors is None else np.asarray(donors).astype(str)
    spots[["x", "y"]] = np.asarray(positions, dtype=np.float64)
    colors = color_map(sorted(spots["group"].dropna().astype(str).unique(), key=natural_order))
    spots["color"] = spots["group"].astype(str).map(colors).where(spots["group"].notna(), MISSING_COLOR)
    panels = sorted(
        ((str(donor), str(sample), panel) for (donor, sample), panel in spots.groupby(["donor", "sample"])),
        key=lambda item: (natural_order(item[0]), natural_order(item[1])),
    )
    shape = float(np.median([_extent(panel)[1] / _extent(panel)[0] for _, _, panel in panels]))
    n_rows, n_columns = _grid(len(panels), shape)
    panel_width = min(_LARGEST_PANEL, _PAGE_WIDTH / n_columns)
    figure = new_figure(
        n_columns * panel_width + legend_width([legend_title, *legend_entries(colors)]),
        n_rows * (panel_width * shape + _TITLE_HEIGHT) + bool(title) * 0.4,
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    names_donors = spots["donor"].nunique() > 1
    for ax, (donor, sample, panel) in zip(axes, panels, strict=False):
        _draw_sample(ax, panel)
        _set_panel_title(ax, f"{donor} · {sample}" if names_donors else sample, panel_width)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    add_legend(figure, legend_title, with_missing(colors, spots["group"].isna()))
    return to_png(figure)


def _grid(n_panels: int, shape: float) -> tuple[int, int]:
    """Rows and columns that come near the shape of a page and leave few places empty."""

    def cost(n_columns: int) -> float:
        n_rows = math.ceil(n_panels / n_columns)
        n_empty = n_rows * n_columns - n_panels
        return abs(math.log(n_columns / (n_rows * shape) / _PAGE_SHAPE)) + n_empty / n_panels

    n_columns = min(range(1, n_panels + 1), key=cost)
    return math.ceil(n_panels / n_columns), n_columns


def _extent(panel: pd.DataFrame) -> tuple[float, float]:
    spacing = _spacing(panel)
    return float(np.ptp(panel["x"])) + spacing, float(np.ptp(panel["y"])) + spacing


def _spacing(panel: pd.DataFrame) -> float:
    """Median distance between neighbouring spots, 1 where there is none."""
    from scipy.spatial import cKDTree

    points = panel[["x", "y"]].to_numpy()
    if len(points) < 2:
        return 1.0
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1])) or 1.0


def _set_panel_title(ax: Axes, text: str, panel_width: float) -> None:
    """Write a title in a size that fits the panel; a name too long even for the smallest loses its middle."""
    points = 72 * panel_width
    smallest, largest = _FONT_SIZES
    n_fitting = int(points / (_CHARACTER_WIDTH * smallest))
    if len(text) > n_fitting:
        text = f"{text[: n_fitting // 2 - 1]}…{text[-(n_fitting // 2 - 1) :]}"
    size = min(largest, points / (_CHARACTER_WIDTH * len(text)))
    ax.set_title(text, fontsize=size, pad=3)


def _draw_sample(ax: Axes, panel: pd.DataFrame) -> None:
    from matplotlib.collections import EllipseCollection

    diameter = _MARKER_OVERLAP * _spacing(panel)
    points = panel[["x", "y"]].to_numpy()
    ax.add_collection(
        EllipseCollection(
            widths=diameter,
            heights=diameter,
            angles=0,
            units="xy",
            offsets=points,
            offset_transform=ax.transData,
            facecolors=panel["color"].to_list(),
            edgecolors="none",
        )
    )
    low, high = points.min(axis=0) - diameter, points.max(axis=0) + diameter
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])
    ax.set_aspect("equal")
    ax.set_axis_off()

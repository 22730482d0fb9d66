"""The tissue of every sample, each spot in the colour of its domain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from stalign_core.domains.numbering import domain_order
from stalign_core.plots.canvas import add_legend, new_figure, to_png, with_missing
from stalign_core.plots.palette import MISSING_COLOR, color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PAGE_WIDTH: Final = 12.0
_LARGEST_PANEL: Final = 4.0
_PAGE_SHAPE: Final = 1.6
"""Width over height that the grid of panels aims at."""

_TITLE_HEIGHT: Final = 0.3
_LEGEND_WIDTH: Final = 1.3


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
    colors = color_map(sorted(spots["group"].dropna().astype(str).unique(), key=domain_order))
    spots["color"] = spots["group"].astype(str).map(colors).where(spots["group"].notna(), MISSING_COLOR)
    panels = list(spots.groupby(["donor", "sample"], sort=True))
    shape = float(np.median([_extent(panel)[1] / _extent(panel)[0] for _, panel in panels]))
    n_columns = min(len(panels), max(1, math.ceil(math.sqrt(len(panels) * _PAGE_SHAPE * shape))))
    n_rows = math.ceil(len(panels) / n_columns)
    panel_width = min(_LARGEST_PANEL, _PAGE_WIDTH / n_columns)
    figure = new_figure(
        n_columns * panel_width + _LEGEND_WIDTH, n_rows * (panel_width * shape + _TITLE_HEIGHT) + bool(title) * 0.4
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    names_donors = spots["donor"].nunique() > 1
    for ax, ((donor, sample), panel) in zip(axes, panels, strict=False):
        _draw_sample(ax, panel)
        ax.set_title(f"{donor} · {sample}" if names_donors else sample, fontsize=10, pad=3)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    add_legend(figure, legend_title, with_missing(colors, spots["group"].isna()))
    return to_png(figure)


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


def _draw_sample(ax: Axes, panel: pd.DataFrame) -> None:
    from matplotlib.collections import EllipseCollection

    diameter = _spacing(panel)
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

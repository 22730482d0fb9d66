"""Domains over the H&E picture of every section, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from stalign_core.plots.canvas import add_legend, legend_width, new_figure
from stalign_core.plots.palette import MISSING_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS: Final = 5
_PANEL: Final = 2.4
LONGEST_SIDE: Final = 500
"""Pixels that a picture's longer side needs in a figure: more only makes the page heavy."""


_LARGEST_TITLE: Final = 11.0
_SMALLEST_TITLE: Final = 5.0
_LETTER_WIDTH: Final = 0.65
"""Of a letter's size; the mean of the font is about .6."""


@dataclass(frozen=True, eq=False)
class TissuePanel:
    """One section of the figure.

    Attributes
    ----------
    title
        Above it.
    spatial
        Centres in full-resolution pixels, (n_spots, 2) as (x, y).
    domains
        Their domains, (n_spots,).
    spot_diameter
        In full-resolution pixels.
    picture, scale
        (height, width, 3) uint8 and its pixels per full-resolution pixel; None where there is no picture.
    """

    title: str
    spatial: npt.NDArray[np.float64]
    domains: npt.NDArray[Any]
    spot_diameter: float
    picture: npt.NDArray[np.uint8] | None = None
    scale: float = 1.0


def tissue_maps(panels: Sequence[TissuePanel], colors: Mapping[str, str]) -> Figure:
    """Draw each section's picture with its spots in the colours of their domains; y runs downwards as in the image."""
    n_rows = math.ceil(len(panels) / _COLUMNS)
    n_columns = math.ceil(len(panels) / n_rows)
    figure = new_figure(_PANEL * n_columns + legend_width(["domain", *colors]), (_PANEL + 0.25) * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax, panel in zip(axes, panels, strict=False):
        _draw(ax, panel, colors)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    add_legend(figure, "domain", dict(colors))
    return figure


def _draw(ax: Axes, panel: TissuePanel, colors: Mapping[str, str]) -> None:
    from matplotlib.collections import EllipseCollection

    if panel.picture is not None:
        height, width = panel.picture.shape[:2]
        extent = (0, width / panel.scale, height / panel.scale, 0)
        ax.imshow(panel.picture, extent=extent, interpolation="nearest")
    diameters = np.full(len(panel.spatial), panel.spot_diameter)
    spots = EllipseCollection(
        diameters,
        diameters,
        np.zeros(len(panel.spatial)),
        units="xy",
        offsets=panel.spatial,
        offset_transform=ax.transData,
        facecolors=[colors.get(str(name), MISSING_COLOR) for name in panel.domains],
        linewidths=0,
        alpha=0.75 if panel.picture is not None else 1.0,
        rasterized=True,
    )
    ax.add_collection(spots)
    margin = 1.5 * panel.spot_diameter
    low, high = panel.spatial.min(axis=0) - margin, panel.spatial.max(axis=0) + margin
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(panel.title, fontsize=_title_size(panel.title), pad=2)


def _title_size(title: str) -> float:
    """Points: as large as the panel is wide, for on paper five panels share a page."""
    points_per_letter = 72 * _PANEL / max(len(title), 1)
    return min(_LARGEST_TITLE, max(_SMALLEST_TITLE, points_per_letter / _LETTER_WIDTH))

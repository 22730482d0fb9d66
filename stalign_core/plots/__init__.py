"""Figures as PNG bytes, drawn without any global state of matplotlib."""

from __future__ import annotations

from stalign_core.plots.canvas import thumbnail
from stalign_core.plots.domain_map import domain_map
from stalign_core.plots.palette import color_map
from stalign_core.plots.projection import Projection, project, projection_figure

__all__ = [
    "Projection",
    "color_map",
    "domain_map",
    "project",
    "projection_figure",
    "thumbnail",
]

"""Sections of a page that no small study reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from stalign_assets.pages.sections import maps
from stalign_core.plots.tissue_map import TissuePanel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stalign_assets.pages.content import ReportContent

COLORS = {"1": "#0072b2"}


class ManySections:
    """What `maps` asks of a report's content, for 65 sections of one spot."""

    colors = COLORS

    def __init__(self) -> None:
        self.figures: dict[str, list[str]] = {}

    def samples_of(self, donor: str) -> list[tuple[str, str]]:
        return [("D", f"S{number}") for number in range(65)]

    def panel(self, donor: str, sample: str) -> TissuePanel:
        return TissuePanel(sample, np.array([[5.0, 5.0]]), np.array(["1"], dtype=object), 5.0)

    def lacks_its_picture(self, donor: str, sample: str) -> bool:
        return False

    def figure(self, name: str, figure: Figure, donor: str = "") -> str:
        self.figures[name] = [ax.get_title() for ax in figure.axes if ax.get_title()]
        return f"<{name}>"


def test_many_sections_go_on_in_further_figures_of_thirty() -> None:
    content = ManySections()
    body = maps(cast("ReportContent", content), "").body
    assert body.endswith("<domain_maps><domain_maps_2><domain_maps_3>")
    assert [len(titles) for titles in content.figures.values()] == [30, 30, 5]
    assert [title for titles in content.figures.values() for title in titles] == [f"S{number}" for number in range(65)]

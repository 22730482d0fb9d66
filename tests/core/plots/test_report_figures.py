"""Figures of the reports: each mark has the colour, place and size that it stands for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import to_hex

from stalign_core.plots.composition import composition_bars
from stalign_core.plots.marker_dots import marker_dots
from stalign_core.plots.projection import Projection, projection_grid
from stalign_core.plots.tissue_map import TissuePanel, tissue_maps

COLORS = {"1": "#0072b2", "2": "#e69f00", "10": "#009e73"}


def panel(title: str, domains: list[str], *, scale: float = 1.0, side: int = 0) -> TissuePanel:
    spatial = np.column_stack([np.arange(len(domains)) * 20.0 + 10, np.full(len(domains), 30.0)])
    picture = np.full((side, side, 3), 200, np.uint8) if side else None
    return TissuePanel(title, spatial, np.array(domains, dtype=object), 11.0, picture, scale)


def test_a_domain_has_one_colour_in_every_section_of_a_map() -> None:
    sections = [panel("one", ["1", "2", "10"]), panel("two", ["10", "10"]), panel("three", ["2"])]
    figure = tissue_maps(sections, COLORS)
    drawn = [next(each for each in ax.collections if isinstance(each, EllipseCollection)) for ax in figure.axes[:3]]
    for section, spots in zip(sections, drawn, strict=True):
        assert [to_hex(color) for color in spots.get_facecolor()] == [COLORS[name] for name in section.domains]
        assert np.asarray(spots.get_offsets()).tolist() == section.spatial.tolist()
    assert [ax.get_title() for ax in figure.axes[:3]] == ["one", "two", "three"]
    (legend,) = figure.legends
    named = {
        text.get_text(): to_hex(handle.get_color())  # type: ignore[attr-defined]
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert named == COLORS


def test_a_picture_lies_under_its_spots_at_its_scale() -> None:
    figure = tissue_maps([panel("small", ["1", "2"], scale=0.25, side=50)], COLORS)
    (image,) = figure.axes[0].get_images()
    assert tuple(image.get_extent()) == (0, 200, 200, 0), "50 pixels at a quarter of the full resolution; y runs down"


def test_thirty_sections_are_laid_out_without_one_lost() -> None:
    figure = tissue_maps([panel(f"section {number}", ["1"]) for number in range(30)], COLORS)
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == [f"section {number}" for number in range(30)]


def test_bars_of_a_composition_are_the_shares_in_the_domains_colours() -> None:
    shares = pd.DataFrame([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], index=["s1", "s2"], columns=list(COLORS))
    ax = composition_bars(shares, COLORS).axes[0]
    for row, bars in zip(shares.to_numpy().T, ax.containers, strict=True):
        assert [bar.get_width() for bar in bars] == pytest.approx(row)  # type: ignore[attr-defined]
    assert [to_hex(bars[0].get_facecolor()) for bars in ax.containers] == list(COLORS.values())  # type: ignore[index]
    ends = [max(bars[row].get_x() + bars[row].get_width() for bars in ax.containers) for row in (0, 1)]  # type: ignore[index]
    assert ends == pytest.approx([1, 1])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["s1", "s2"]


def test_dots_of_markers_are_as_large_as_the_share_and_as_dark_as_the_mean() -> None:
    table = pd.DataFrame(
        {
            "domain": ["1", "1", "2", "2"],
            "gene": ["a", "b", "a", "b"],
            "symbol": ["A", "B", "A", "B"],
            "mean_expression": [4.0, 1.0, 2.0, 3.0],
            "share_of_spots": [1.0, 0.25, 0.5, 0.75],
        }
    )
    ax = marker_dots(table, ["b", "a"]).axes[0]
    (dots,) = (each for each in ax.collections if isinstance(each, PathCollection))
    places = [tuple(place) for place in np.asarray(dots.get_offsets())]
    assert places == [(0, 0), (1, 0), (0, 1), (1, 1)], "genes as given, domains in natural order"
    sizes = np.asarray(dots.get_sizes())
    assert (sizes / sizes.max()).tolist() == pytest.approx([0.25, 1.0, 0.75, 0.5])
    assert np.asarray(dots.get_array()).tolist() == [0, 1, 1, 0], "from least to most in each gene"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["B", "A"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "2"]


def test_umaps_show_each_spot_in_the_same_colour_in_every_space() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(40)
    spaces = {
        name: Projection(rows, rng.normal(size=(40, 2)).astype(np.float32)) for name in ("before", "after", "embedding")
    }
    domains = rng.choice(list(COLORS), 40)
    donors = rng.choice(["P1", "P2"], 40)
    figure = projection_grid(spaces, {"donor": donors, "domain": domains}, {"domain": COLORS})
    for ax, (name, space) in zip(figure.axes[3:6], spaces.items(), strict=True):
        points = ax.collections[0]
        color_at = {
            tuple(place): to_hex(color)
            for place, color in zip(np.asarray(points.get_offsets()), points.get_facecolor(), strict=True)
        }
        for place, domain in zip(space.coordinates, domains, strict=True):
            assert color_at[tuple(place)] == COLORS[domain]
        assert ax.get_title() == f"{name}, by domain"
    assert [ax.get_legend() is not None for ax in figure.axes] == [False, False, True] * 2, "one legend a row"

from __future__ import annotations

import io
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from stalign_core.plots import (
    Projection,
    color_map,
    domain_map,
    project,
    projection_figure,
    thumbnail,
)
from stalign_core.plots.activity_map import activity_map
from stalign_core.plots.palette import MISSING_COLOR, PALETTE


def _pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def _where(pixels: np.ndarray, color: str) -> tuple[np.ndarray, np.ndarray]:
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    rows, columns = np.nonzero((pixels == wanted).all(axis=2))
    return rows, columns


def _square(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * 100.0


def test_y_runs_downwards_and_x_to_the_right() -> None:
    positions = _square(12)
    domains = np.where(positions[:, 1] < 550, "1", "2")
    domains[(positions[:, 0] > 550) & (positions[:, 1] > 550)] = "3"
    pixels = _pixels(domain_map(positions, domains, np.full(144, "s")))
    pixels = pixels[:, : pixels.shape[1] * 2 // 3]
    (top, _), (low_left, left), (low_right, right) = (_where(pixels, PALETTE[index]) for index in range(3))
    assert np.median(top) < np.median(low_left)
    assert abs(np.median(low_left) - np.median(low_right)) < 20
    assert np.median(left) < np.median(right)


def test_a_domain_has_one_colour_in_all_samples_and_scales_are_equal() -> None:
    positions = np.concatenate([_square(8), _square(8)])
    samples = np.repeat(["s1", "s2"], 64)
    domains = np.repeat(["2", "10"], 64)
    pixels = _pixels(domain_map(positions, domains, samples))
    colors = color_map(["2", "10"])
    for domain in ("2", "10"):
        rows, columns = _where(pixels, colors[domain])
        # A column of the panel holds more than the legend's dot does.
        in_panel = np.bincount(columns)[columns] > 50
        assert in_panel.sum() > 5000
        assert np.ptp(rows[in_panel]) == pytest.approx(np.ptp(columns[in_panel]), rel=0.05)


def test_markers_touch_whatever_the_unit_of_positions() -> None:
    for unit in (1.0, 5000.0):
        positions = _square(10) * unit
        pixels = _pixels(domain_map(positions, np.full(100, "1"), np.full(100, "s")))
        rows, columns = _where(pixels[:, : int(pixels.shape[1] * 0.8)], PALETTE[0])
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.85 < len(rows) / box < 0.99


def test_missing_labels_are_grey_and_explained() -> None:
    labels = np.array(["a"] * 32 + [None] * 32, dtype=object)
    pixels = _pixels(domain_map(_square(8), labels, np.full(64, "s"), legend_title="label"))
    assert len(_where(pixels, MISSING_COLOR)[0]) > 2000


def test_equal_input_gives_equal_bytes_and_no_global_figure() -> None:
    arguments = (_square(5), np.arange(25).astype(str), np.full(25, "s"))
    assert domain_map(*arguments) == domain_map(*arguments)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_thumbnails_stay_below_their_bound() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (250, 450, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG")
    small = thumbnail(buffer.getvalue(), max_bytes=30_000)
    assert len(small) <= 30_000
    picture = Image.open(io.BytesIO(small))
    assert picture.width / picture.height == pytest.approx(1.8, rel=0.02)
    assert thumbnail(small, max_bytes=30_000) is small
    with pytest.raises(ValueError, match="100 bytes"):
        thumbnail(buffer.getvalue(), max_bytes=100)


def test_projection_keeps_groups_apart_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(240) % 2
    embedding = rng.normal(size=(240, 6)) + 20 * groups[:, None]
    first, second = (project(embedding, seed=3, max_spots=120) for _ in range(2))
    assert first.coordinates.shape == (120, 2)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.coordinates, second.coordinates)
    of_drawn = groups[first.rows]
    distances = cdist(first.coordinates, first.coordinates) + 1e9 * np.eye(120)
    assert (of_drawn[distances.argmin(axis=1)] == of_drawn).all()
    assert not np.array_equal(project(embedding, seed=4, max_spots=120).rows, first.rows)


def test_projection_of_a_handful_of_spots_needs_no_umap() -> None:
    np.testing.assert_array_equal(project(np.array([[1.0], [2.0]]), 0).coordinates, [[1, 0], [2, 0]])


def test_projection_figure_draws_the_colours_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    projection = Projection(np.arange(50), rng.normal(size=(50, 2)).astype(np.float32))
    donors = np.array(["A"] * 50 + ["B"] * 50)
    pixels = _pixels(projection_figure(projection, {"donor": donors}))
    # The legend names both donors; only A's spots are drawn.
    assert len(_where(pixels, color_map(["A", "B"])["A"])[0]) > 5 * len(_where(pixels, PALETTE[1])[0]) > 0


def test_a_thumbnail_is_no_wider_than_the_dialog_that_shows_it() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 1500), "white").save(buffer, format="PNG")
    assert Image.open(io.BytesIO(thumbnail(buffer.getvalue()))).size == (1000, 500)


def test_pathways_and_domains_of_the_map_are_in_order_and_significant_ones_bear_a_star() -> None:
    places = [(domain, pathway) for domain in ("10", "2", "1") for pathway in ("WNT", "p53")]
    activities = pd.DataFrame(places, columns=["domain", "pathway"])
    activities["activity"] = [4.0, -1.0, 0.5, 0.2, -3.0, 2.0]
    activities["q"] = [0.01, np.nan, 0.5, 0.5, 0.04, 0.06]
    (axes, _) = activity_map(activities, 0.05).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "10"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["WNT", "p53"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[-3.0, 0.5, 4.0], [2.0, 0.2, -1.0]])
    assert sorted(text.get_position() for text in axes.texts if text.get_text() == "*") == [(0, 0), (2, 0)]
    (strict, _) = activity_map(activities, 0.01).axes
    assert [text.get_position() for text in strict.texts if text.get_text() == "*"] == [(2, 0)]

"""Stain normalisation: fitted on tissue alone, the same map for every patch, and no harm where it cannot be fitted."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2lab

from stalign_core.images.pixels import Pixels
from stalign_core.morphology import embed_section
from stalign_core.morphology.stain import fit_stain
from stalign_core.morphology.stain.fitting import (
    MACENKO_STAINS,
    MACENKO_STRENGTHS,
    REINHARD_DEVIATIONS,
    REINHARD_MEANS,
)
from stalign_core.morphology.stain.tissue import PIXELS_PER_PATCH, is_tissue, sample_tissue
from stalign_core.settings import EncoderSettings, MorphologySettings
from tests.core.morphology.sections import saved, section, tissue

Method = Literal["macenko", "reinhard"]
METHODS: tuple[Method, ...] = ("macenko", "reinhard")
WEAK_AND_PINK = np.array([[0.65, 0.70, 0.29], [0.25, 0.90, 0.36]])
"""Haematoxylin of Ruifrok and Johnston (2001), and an eosin that absorbs enough red for Macenko's rule to see it."""


def amounts(n_pixels: int, seed: int = 0) -> NDArray[np.float64]:
    """Haematoxylin and eosin of pixels that are nuclei, pure or mixed, or the tissue around them."""
    rng = np.random.default_rng(seed)
    nucleus = rng.random(n_pixels) < 0.4
    haematoxylin = np.where(nucleus, rng.uniform(0.5, 2.0, n_pixels), rng.uniform(0, 0.03, n_pixels))
    eosin = np.where(nucleus, rng.uniform(0, 0.05, n_pixels), rng.uniform(0.75, 1.1, n_pixels))
    return np.column_stack([haematoxylin, eosin])


def stained(of: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The light through amounts (n, 2) of two stains (2, 3): (n, 3)."""
    return np.clip(np.rint(240 * np.exp(-of @ vectors) - 1), 0, 255).astype(np.uint8)


def as_patches(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels.reshape(-1, 20, 20, 3)


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((255, 255, 255), False),
        ((230, 207, 220), False),  # -log(208 / 240) = .143
        ((230, 205, 220), True),  # -log(206 / 240) = .153
        ((150, 150, 155), False),  # grey
        ((0, 0, 0), False),
        ((80, 50, 140), True),
    ],
)
def test_tissue_absorbs_green_and_is_not_grey(pixel: tuple[int, int, int], expected: bool) -> None:
    assert bool(is_tissue(np.array(pixel, dtype=np.uint8))) is expected


def test_the_sample_is_bounded_and_holds_tissue_alone() -> None:
    half = np.full((100, 100, 3), 255, dtype=np.uint8)
    half[:50] = (200, 120, 170)
    found = sample_tissue([half, half], np.random.default_rng(0))
    assert (found == (200, 120, 170)).all()
    # a half of what is drawn, give or take five deviations of a binomial
    assert abs(len(found) - PIXELS_PER_PATCH) < 5 * np.sqrt(2 * PIXELS_PER_PATCH / 4)


def test_macenko_maps_the_slides_stains_to_the_references() -> None:
    of = amounts(40_000)
    normalise = fit_stain(stained(of, WEAK_AND_PINK), "macenko")
    # by hand: the 99th percentiles of the amounts become the reference's, and the vectors too
    scaled = of * MACENKO_STRENGTHS / np.percentile(of, 99, axis=0)
    expected = stained(scaled, MACENKO_STAINS.T)
    found = normalise(as_patches(stained(of, WEAK_AND_PINK))).reshape(-1, 3)
    before = np.abs(stained(of, WEAK_AND_PINK).astype(float) - expected).mean()
    after = np.abs(found.astype(float) - expected).mean()
    assert after < 1 < before / 10
    assert "warning" not in normalise.facts


def test_reinhard_gives_tissue_the_references_means_and_deviations() -> None:
    # mild stain, so that the reference's wider lightness clips few pixels
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal((180, 120, 170), (20, 16, 14), (40_000, 3)), 0, 190).astype(np.uint8)
    found = rgb2lab(fit_stain(pixels, "reinhard")(as_patches(pixels)).reshape(-1, 1, 3) / 255).reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=0), REINHARD_MEANS, atol=1.5)
    np.testing.assert_allclose(found.std(axis=0), REINHARD_DEVIATIONS, rtol=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_two_stains_of_one_texture_come_closer(method: Method) -> None:
    of = amounts(40_000)
    strong = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]]) * [[1.2], [1.3]]
    one, other = stained(of, WEAK_AND_PINK), stained(of, strong)

    def apart(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
        return float(np.abs(first.astype(float) - second).mean())

    normalised = [fit_stain(each, method)(as_patches(each)).reshape(-1, 3) for each in (one, other)]
    assert apart(*normalised) < 0.5 * apart(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_glass_and_a_patch_of_one_colour_is_no_fault(method: Method) -> None:
    normalise = fit_stain(stained(amounts(4000), WEAK_AND_PINK), method)
    glass = np.full((2, 20, 20, 3), 250, dtype=np.uint8)
    assert normalise(glass).min() >= 235
    flat = np.full((1, 20, 20, 3), (200, 120, 170), dtype=np.uint8)
    assert np.ptp(normalise(flat).reshape(-1, 3), axis=0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((0, 3), np.uint8), "0 pixels of tissue"),
        (np.full((1000, 3), (120, 60, 140), np.uint8), ""),
    ],
    ids=["no tissue", "one colour"],
)
def test_a_slide_that_cannot_be_fitted_is_left_as_it_is_and_says_so(
    method: Method, pixels: NDArray[np.uint8], reason: str
) -> None:
    normalise = fit_stain(pixels, method)
    patches = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(normalise(patches), patches)
    assert normalise.facts["warning"].startswith("stains are left as they are: ")
    assert reason in normalise.facts["warning"]


def test_a_slide_without_eosin_is_left_as_it_is_by_macenko() -> None:
    of = amounts(40_000)
    of[:, 0] += 0.5
    of[:, 1] = 0
    facts = fit_stain(stained(of, WEAK_AND_PINK), "macenko").facts
    assert "degrees apart" in facts["warning"]


@pytest.mark.parametrize("method", METHODS)
def test_an_embedding_says_what_was_fitted(method: Method, tmp_path: Path) -> None:
    path = saved(tissue(300, 400, 200), tmp_path / "slide.png")
    spots = section(np.random.default_rng(0).integers(20, [380, 280], (40, 2)), path)
    plain = embed_section(spots, "texture", EncoderSettings(), MorphologySettings())
    settings = MorphologySettings(stain_normalisation=method)
    found = embed_section(spots, "texture", EncoderSettings(), settings)
    assert "stain" not in plain.facts
    assert json.loads(json.dumps(found.facts))["stain"]["method"] == method
    assert np.abs(found.features - plain.features).max() > 0.01
    again = embed_section(spots, "texture", EncoderSettings(), settings)
    np.testing.assert_array_equal(again.features, found.features)


def test_memory_does_not_grow_with_the_size_of_patches() -> None:
    def patches(side: int) -> list[Pixels]:
        return [np.full((side, side, 3), (200, 120, 170), dtype=np.uint8)] * 50

    tracemalloc.start()
    kept = sample_tissue(patches(600), np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 50 * PIXELS_PER_PATCH
    # 50 patches hold 54 MB; one of them, a permutation of its pixels and what is kept take less than a fifth
    assert peak < 10e6

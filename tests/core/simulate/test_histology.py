from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from stalign_core.simulate import CohortDesign, HistologyDesign, simulate_section
from stalign_core.simulate.histology import Stain, draw_donor_stain, draw_section_stain, render_histology

REFERENCE = Stain(np.array([[0.6, 0.7, 0.4], [0.2, 0.8, 0.55]]))


def _patches(image: np.ndarray, centres: np.ndarray, side: int) -> np.ndarray:
    corners = centres.round().astype(int) - side // 2
    return np.stack([image[y : y + side, x : x + side] for x, y in corners]).astype(float)


def _inner_spots(design: CohortDesign) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    section = simulate_section(design, 0, 0)
    image = render_histology(section, REFERENCE, np.random.default_rng(0))
    pure = section.memberships.max(axis=1) > 0.95
    return image, section.pixels[section.in_tissue][pure], section.domain[pure]


def test_glass_is_bright_and_tissue_is_not() -> None:
    section = simulate_section(CohortDesign(n_genes=50, lattice_rows=16, lattice_columns=16), 0, 0)
    image = render_histology(section, REFERENCE, np.random.default_rng(0))
    assert image.dtype == np.uint8
    assert image.shape == (section.placement.height, section.placement.width, 3)
    distance = section.tissue.margin(section.lattice.positions)
    inside, outside = section.pixels[distance > 0.7], section.pixels[distance < -0.7]
    assert _patches(image, inside, 21).mean() < 215
    assert _patches(image, outside, 21).mean() > 238


def test_nuclei_and_eosin_follow_the_domains() -> None:
    image, centres, domain = _inner_spots(CohortDesign(n_genes=50))
    red, green = np.moveaxis(_patches(image, centres, 45), -1, 0)[:2]
    nuclear = pd.Series((red < 150).mean(axis=(1, 2))).groupby(domain).mean()
    assert nuclear.idxmax() == "Islet"
    assert nuclear["Islet"] > 3 * nuclear["Layer1"]
    brightness = pd.Series(np.median(green, axis=(1, 2))).groupby(domain).mean()
    assert brightness.idxmin() == "WhiteMatter"


def test_domains_can_be_told_apart_by_simple_texture() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import cross_val_score

    image, centres, domain = _inner_spots(CohortDesign(n_genes=50))
    patches = _patches(image, centres, 45)
    features = np.hstack(
        [patches.mean(axis=(1, 2)), patches.std(axis=(1, 2)), (patches[..., 0] < 150).mean(axis=(1, 2))[:, None]]
    )
    accuracy = cross_val_score(LinearDiscriminantAnalysis(), features, domain, cv=3).mean()
    assert accuracy > 0.6  # six domains


def test_donors_stain_differently_and_a_donors_sections_alike() -> None:
    histology = HistologyDesign()
    donors = [draw_donor_stain(histology, np.random.default_rng(seed)) for seed in range(40)]
    sections = [draw_section_stain(stain, histology, np.random.default_rng(100 + i)) for i, stain in enumerate(donors)]

    def unit(stain: Stain) -> np.ndarray:
        return np.asarray(stain.densities / np.linalg.norm(stain.densities, axis=1, keepdims=True))

    for donor, section in zip(donors, sections, strict=True):
        np.testing.assert_allclose(unit(donor), unit(section))
    between = np.log([np.linalg.norm(stain.densities, axis=1) for stain in donors]).std()
    within = np.log(
        [
            np.linalg.norm(s.densities, axis=1) / np.linalg.norm(d.densities, axis=1)
            for s, d in zip(sections, donors, strict=True)
        ]
    ).std()
    assert between == pytest.approx(histology.donor_stain_sd, rel=0.3)
    assert within == pytest.approx(histology.section_stain_sd, rel=0.3)


def test_a_darker_stain_gives_a_darker_image_by_beer_lambert() -> None:
    section = simulate_section(CohortDesign(n_genes=50, lattice_rows=12, lattice_columns=12), 0, 0)
    image = render_histology(section, REFERENCE, np.random.default_rng(0)).astype(float)
    twice = render_histology(section, replace(REFERENCE, densities=2 * REFERENCE.densities), np.random.default_rng(0))
    stained = (image[..., 1] > 90) & (image[..., 1] < 200)
    expected = image[..., 1] ** 2 / 243  # exp(-2d) = exp(-d)^2
    assert np.abs(twice[..., 1] - expected)[stained].mean() < 4


def test_written_images_differ_between_donors_in_hue(small_cohort: Path) -> None:
    def hue(sample: str) -> np.ndarray:
        image = tifffile.imread(small_cohort / "images" / f"{sample}.tif").astype(float)
        densities = -np.log(np.maximum(image, 1) / 243).reshape(-1, 3)
        mean = densities[densities[:, 1] > 0.15].mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    within = np.linalg.norm(hue("P01_S1") - hue("P01_S2"))
    between = np.linalg.norm(hue("P01_S1") - hue("P02_S1"))
    assert between > 2 * within

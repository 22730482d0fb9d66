from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.color import rgb2lab

from stalign_core.plots.palette import MISSING_COLOR, PALETTE, color_map

_VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
"""Machado et al. 2009, severity 1, on linear RGB."""


def _lab(colors: list[str], vision: str) -> np.ndarray:
    rgb = np.array([[int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ _VISIONS[vision].T, 0, 1)
    gamma = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(gamma[None])[0])


@pytest.mark.parametrize("vision", list(_VISIONS))
def test_colours_can_be_told_apart_by_every_reader(vision: str) -> None:
    lab = _lab([*PALETTE, MISSING_COLOR, "#FFFFFF"], vision)
    distances = [np.linalg.norm(first - second) for first, second in itertools.combinations(lab, 2)]
    assert min(distances) > 10


def test_more_groups_than_colours_still_differ() -> None:
    colors = color_map([str(number) for number in range(72)])
    assert len(set(colors.values())) == 72
    assert list(colors.values())[: len(PALETTE)] == list(PALETTE)

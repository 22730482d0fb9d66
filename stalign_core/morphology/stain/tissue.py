"""Which pixels are stained tissue, and a bounded sample of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.images.pixels import Pixels

LIGHT: Final = 240.0
"""Brightness of bare glass that torchstain assumes."""
LEAST_DENSITY: Final = 0.15
"""Optical density (natural logarithm) below which Macenko et al. (2009) take a pixel for glass."""
LEAST_COLOUR: Final = 12
"""Least difference between a tissue pixel's channels: grey dust, pencil and masked-out black have less."""
PIXELS_PER_PATCH: Final = 400

_DENSITY_OF_BYTE: Final = (-np.log((np.arange(256) + 1) / LIGHT)).astype(np.float32)


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density of each channel, ``-log((value + 1) / 240)`` as torchstain has it; of any shape."""
    return _DENSITY_OF_BYTE[pixels]


def is_tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a pixel is stained tissue: both stains absorb green, and neither is grey.

    Parameters
    ----------
    pixels
        (..., 3) RGB.

    Returns
    -------
    (...)
    """
    absorbs = optical_density(pixels[..., 1]) >= LEAST_DENSITY
    coloured = pixels.max(axis=-1).astype(np.int16) - pixels.min(axis=-1) >= LEAST_COLOUR
    found: NDArray[np.bool_] = np.logical_and(absorbs, coloured)
    return found


def sample_tissue(patches: Iterable[Pixels], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Tissue pixels of some patches, at most `PIXELS_PER_PATCH` drawn from each: (n, 3)."""
    found = [np.zeros((0, 3), dtype=np.uint8)]
    for patch in patches:
        pixels = patch.reshape(-1, 3)
        if len(pixels) > PIXELS_PER_PATCH:
            pixels = pixels[rng.choice(len(pixels), PIXELS_PER_PATCH, replace=False)]
        found.append(pixels[is_tissue(pixels)])
    return np.concatenate(found)

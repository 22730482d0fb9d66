"""The encoder that needs no weights: colour and texture of the separated stains.

A patch is resized to `SIDE` pixels and separated into haematoxylin, eosin and residual (Ruifrok and Johnston 2001,
by scikit-image's rgb2hed). The features are those of `FEATURE_NAMES`, in that order: how each colour and stain is
distributed, how coarse and how ordered its texture is, and how densely nuclei lie.

The features answer to the patch and not to its turning: quarter turns and mirrors leave all of them as they are but
for gradients at the border. They do change with stain strength, which correction by sample is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.images.pixels import Pixels
from stalign_core.morphology.encoders.statistics import (
    HARALICK,
    N_LEVELS,
    N_PATTERNS,
    QUANTILES,
    Floats,
    binary_patterns,
    co_occurrence,
    correlation,
    detail_by_scale,
    gradient_energy,
    haralick,
    moments_and_quantiles,
    quantise,
)

SIDE: Final = 64
"""Side to which every patch is resized, in pixels."""

# rgb2hed's units are natural logarithms over 13.8; these bring strong stain to about 1
_STAIN_SCALE: Final = np.array([0.25, 0.1, 0.1], dtype=np.float32)
# a channel darker than this is camera noise, whose logarithm would outweigh every stain
_DARKEST: Final = np.float32(8 / 255)
# no stained tissue is black in all three channels: such pixels were masked out of the scan
_MASKED_BELOW: Final = 12
_NUCLEUS_LEVELS: Final = (0.25, 0.4, 0.6)
_NUCLEUS_PROMINENCE: Final = 0.08
_BACKGROUND_BRIGHTNESS: Final = 0.8
_LEVELS_OF_PATTERNS: Final = 64
_PATTERN_RADII: Final = (1, 3)
_PAIR_DISTANCES: Final = (1, 4)
_N_SCALES: Final = 4

_COLORS: Final = ("red", "green", "blue")
_STAINS: Final = ("haematoxylin", "eosin", "residual")


def _feature_names() -> Iterator[str]:
    moments = ("mean", "deviation", *(f"quantile_{quantile:g}" for quantile in QUANTILES))
    for channel in (*_COLORS, *_STAINS):
        yield from (f"{channel}_{moment}" for moment in moments)
    yield "correlation_haematoxylin_eosin"
    yield "correlation_red_blue"
    for channel in ("haematoxylin", "grey"):
        for distance in _PAIR_DISTANCES:
            yield from (f"{channel}_{name}_{distance}" for name in HARALICK)
        for radius in _PATTERN_RADII:
            yield from (f"{channel}_pattern_{radius}_{pattern}" for pattern in range(N_PATTERNS))
    for channel in ("haematoxylin", "eosin", "grey"):
        yield from (f"{channel}_gradient_{name}" for name in ("mean", "deviation", "energy"))
        yield from (f"{channel}_detail_{2**scale}" for scale in range(1, _N_SCALES + 1))
    yield from (f"nuclear_area_{level:g}" for level in _NUCLEUS_LEVELS)
    yield "nuclear_density"
    yield "background_area"


FEATURE_NAMES: Final[tuple[str, ...]] = tuple(_feature_names())


def prepare(patch: Pixels) -> Pixels:
    """Resize a square patch to `SIDE` pixels, smoothed where it shrinks: (SIDE, SIDE, 3)."""
    from PIL import Image

    if patch.shape[:2] == (SIDE, SIDE):
        return patch
    return np.asarray(Image.fromarray(patch).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def texture_features(patches: NDArray[np.uint8]) -> Floats:
    """The features of prepared patches, each alone: a patch's features do not depend on its batch.

    Parameters
    ----------
    patches
        (n, SIDE, SIDE, 3) uint8 RGB.

    Returns
    -------
    (n, len(FEATURE_NAMES)) float32, finite
    """
    color = _masked_to_white(patches).astype(np.float32) / np.float32(255)
    stain = _separate_stains(color)
    red, green, blue = (np.ascontiguousarray(color[..., channel]) for channel in range(3))
    haematoxylin, eosin, residual = (np.ascontiguousarray(stain[..., channel]) for channel in range(3))
    grey = color @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    columns = [moments_and_quantiles(channel) for channel in (red, green, blue, haematoxylin, eosin, residual)]
    columns += [correlation(haematoxylin, eosin), correlation(red, blue)]
    for channel in (haematoxylin, grey):
        levels = quantise(channel, N_LEVELS)
        columns += [haralick(co_occurrence(levels, distance)) for distance in _PAIR_DISTANCES]
        fine_levels = quantise(channel, _LEVELS_OF_PATTERNS)
        columns += [binary_patterns(fine_levels, radius) for radius in _PATTERN_RADII]
    for channel in (haematoxylin, eosin, grey):
        columns += [gradient_energy(channel), detail_by_scale(channel, _N_SCALES)]
    columns += [_nuclear_area(haematoxylin), _nuclear_density(haematoxylin), _background_area(grey)]
    return np.concatenate(columns, axis=1)


def _masked_to_white(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    masked = patches.max(axis=3) < _MASKED_BELOW
    if not masked.any():
        return patches
    cleaned = patches.copy()
    cleaned[masked] = 255
    return cleaned


def _separate_stains(color: Floats) -> Floats:
    from skimage.color import rgb2hed

    stain = rgb2hed(np.maximum(color, _DARKEST)).astype(np.float32)
    separated: Floats = stain / _STAIN_SCALE
    return separated


def _nuclear_area(haematoxylin: Floats) -> Floats:
    return np.column_stack([(haematoxylin > level).mean(axis=(1, 2)) for level in _NUCLEUS_LEVELS]).astype(np.float32)


def _nuclear_density(haematoxylin: Floats) -> Floats:
    """Peaks of smoothed haematoxylin that stand out of their surroundings, per 100 pixels: (n, 1)."""
    from scipy import ndimage

    smooth = haematoxylin
    # the second, wider pass gives a nucleus of even stain one peak instead of a plateau
    for side in (3, 5):
        smooth = ndimage.uniform_filter(smooth, size=(1, side, side), mode="nearest")
    surrounding = ndimage.uniform_filter(haematoxylin, size=(1, 15, 15), mode="nearest")
    highest = ndimage.maximum_filter(smooth, size=(1, 5, 5), mode="nearest")
    peaks = (
        (smooth == highest) & (smooth > _NUCLEUS_LEVELS[0]) & (smooth > surrounding + np.float32(_NUCLEUS_PROMINENCE))
    )
    density: Floats = (100 * peaks.mean(axis=(1, 2)))[:, None].astype(np.float32)
    return density


def _background_area(grey: Floats) -> Floats:
    area: Floats = (grey > _BACKGROUND_BRIGHTNESS).mean(axis=(1, 2))[:, None].astype(np.float32)
    return area

"""Texture statistics of many small images at once, each in one pass of array operations.

Every function takes images as (n, height, width) and gives float32; none gives NaN on a constant image.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Levels = NDArray[np.uint8]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
HARALICK: Final = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
N_LEVELS: Final = 16
"""Grey levels of a co-occurrence matrix."""
N_PATTERNS: Final = 10
"""Rotation-invariant uniform binary patterns of eight neighbours: 0 to 8 bits set, and all others."""

_TINY = 1e-12
_ANGLES = ((0, 1), (1, 1), (1, 0), (1, -1))


def moments_and_quantiles(images: Floats) -> Floats:
    """Mean, standard deviation and `QUANTILES` of each image: (n, 7).

    A quantile is the pixel at rank floor(q (n_pixels - 1)), without interpolation.
    """
    pixels = images.reshape(len(images), -1)
    ranks = [int(quantile * (pixels.shape[1] - 1)) for quantile in QUANTILES]
    quantiles = np.partition(pixels, ranks, axis=1)[:, ranks]
    return np.column_stack([pixels.mean(axis=1), pixels.std(axis=1), quantiles]).astype(np.float32)


def correlation(first: Floats, second: Floats) -> Floats:
    """Pearson correlation of two channels over the pixels of each image: (n, 1); 0 where one is constant."""
    first = first.reshape(len(first), -1)
    second = second.reshape(len(second), -1)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    covariance = np.einsum("np,np->n", first, second)
    scale = np.sqrt(np.einsum("np,np->n", first, first) * np.einsum("np,np->n", second, second))
    return np.where(scale > 1e-6, covariance / np.maximum(scale, 1e-6), 0)[:, None].astype(np.float32)


def co_occurrence(levels: Levels, distance: int) -> NDArray[np.float64]:
    """Symmetric grey-level co-occurrence matrices, summed over four directions and normalised: (n, 16, 16).

    Directions are 0, 45, 90 and 135 degrees; a diagonal step moves `distance` pixels along both axes, where
    scikit-image rounds it to distance / sqrt(2).

    Parameters
    ----------
    levels
        (n, height, width) below `N_LEVELS`.
    distance
        Pixels between the two of a pair.
    """
    n_images, height, width = levels.shape
    n_cells = N_LEVELS * N_LEVELS
    image_offset = (np.arange(n_images, dtype=np.int32) * n_cells)[:, None, None]
    scaled = levels.astype(np.int32) * N_LEVELS + image_offset
    counts = np.zeros(n_images * n_cells, dtype=np.int64)
    for down, right in _ANGLES:
        rows, columns = down * distance, right * distance
        left, stop = max(-columns, 0), width - max(columns, 0)
        pairs = scaled[:, : height - rows, left:stop] + levels[:, rows:, left + columns : stop + columns]
        counts += np.bincount(pairs.ravel(), minlength=n_images * n_cells)
    one_way = counts.reshape(n_images, N_LEVELS, N_LEVELS)
    both_ways = one_way + one_way.transpose(0, 2, 1)
    shares: NDArray[np.float64] = both_ways / both_ways.sum(axis=(1, 2), keepdims=True)
    return shares


def haralick(matrices: NDArray[np.float64]) -> Floats:
    """The statistics `HARALICK` of co-occurrence matrices: (n, 6) (Haralick et al. 1973).

    Contrast and dissimilarity are divided by their largest values, so that all lie between -1 and 1 except
    entropy, in units of its largest value too. The correlation of a constant image is 1, as in scikit-image.
    """
    level = np.arange(N_LEVELS)
    step = np.abs(level[:, None] - level[None, :])
    marginal = matrices.sum(axis=2)
    mean = marginal @ level
    variance = np.maximum(marginal @ level**2 - mean**2, 0)
    product = np.einsum("nij,i,j->n", matrices, level, level)
    varies = variance > 1e-9
    correlated = np.where(varies, (product - mean**2) / np.where(varies, variance, 1), 1)
    entropy = -np.sum(matrices * np.log(matrices + _TINY), axis=(1, 2)) / np.log(N_LEVELS**2)
    return np.column_stack(
        [
            np.sum(matrices * step**2, axis=(1, 2)) / (N_LEVELS - 1) ** 2,
            np.sum(matrices * step, axis=(1, 2)) / (N_LEVELS - 1),
            np.sum(matrices / (1 + step**2), axis=(1, 2)),
            np.sqrt(np.sum(matrices**2, axis=(1, 2))),
            correlated,
            entropy,
        ]
    ).astype(np.float32)


def binary_patterns(levels: Levels, radius: int) -> Floats:
    """Histograms of rotation-invariant uniform local binary patterns: (n, 10) (Ojala et al. 2002).

    Eight neighbours at whole-pixel offsets on the circle of `radius`; pixels nearer than that to the edge have
    no pattern. Bin k of 0 to 8 holds patterns of k set bits in one run, bin 9 all patterns with more runs.
    """
    offsets = _circle(radius)
    height, width = levels.shape[1:]
    centre = levels[:, radius : height - radius, radius : width - radius]
    codes = np.zeros(centre.shape, dtype=np.uint8)
    for bit, (down, right) in enumerate(offsets):
        neighbour = levels[:, radius + down : height - radius + down, radius + right : width - radius + right]
        codes |= (neighbour >= centre).view(np.uint8) << np.uint8(bit)
    patterns = _UNIFORM[codes].reshape(len(levels), -1)
    offset = (np.arange(len(levels), dtype=np.int32) * N_PATTERNS)[:, None]
    counts = np.bincount((patterns + offset).ravel(), minlength=len(levels) * N_PATTERNS)
    return (counts.reshape(len(levels), N_PATTERNS) / patterns.shape[1]).astype(np.float32)


def gradient_energy(images: Floats) -> Floats:
    """Mean, standard deviation and root mean square of the gradient's length, per pixel step: (n, 3)."""
    across = images[:, :-1, 1:] - images[:, :-1, :-1]
    down = images[:, 1:, :-1] - images[:, :-1, :-1]
    length = np.sqrt(across**2 + down**2).reshape(len(images), -1)
    mean, deviation = length.mean(axis=1), length.std(axis=1)
    return np.column_stack([mean, deviation, np.sqrt(mean**2 + deviation**2)]).astype(np.float32)


def detail_by_scale(images: Floats, n_scales: int) -> Floats:
    """Root mean square of what each halving of the resolution loses: (n, n_scales).

    The image is averaged in blocks of 2 x 2, again and again; the detail of a scale is the difference between
    a block's pixels and their mean. Height and width must be divisible by 2 ** n_scales.
    """
    details = []
    for _ in range(n_scales):
        n, height, width = images.shape
        blocks = images.reshape(n, height // 2, 2, width // 2, 2)
        means = blocks.mean(axis=(2, 4))
        square = (blocks - means[:, :, None, :, None]) ** 2
        details.append(np.sqrt(square.mean(axis=(1, 2, 3, 4))))
        images = means
    return np.column_stack(details).astype(np.float32)


def quantise(images: Floats, n_levels: int) -> Levels:
    """Images of values from 0 to 1, clipped, as whole levels below `n_levels`."""
    levels: Levels = np.clip(images * np.float32(n_levels), 0, n_levels - 1).astype(np.uint8)
    return levels


def _circle(radius: int) -> list[tuple[int, int]]:
    angles = np.arange(8) * np.pi / 4
    return [(round(-radius * np.sin(angle)), round(radius * np.cos(angle))) for angle in angles]


def _uniform_patterns() -> NDArray[np.int32]:
    codes = np.arange(256)
    bits = (codes[:, None] >> np.arange(8)) & 1
    n_changes: NDArray[Any] = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(n_changes <= 2, bits.sum(axis=1), N_PATTERNS - 1).astype(np.int32)


_UNIFORM: Final = _uniform_patterns()

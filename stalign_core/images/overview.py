"""A small picture of a large image, for plots."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from stalign_core.images.facts import image_format
from stalign_core.images.ome_zarr import ome_zarr_tiles
from stalign_core.images.picture import picture_tiles, reduced_jpeg
from stalign_core.images.pixels import Pixels
from stalign_core.images.slide import Slide, TileSource
from stalign_core.images.tiff import tiff_tiles

LONGEST_SIDE: Final = 2000
"""Pixels of an overview's longer side at most: that of Space Ranger's hires pictures."""
_BAND_BYTES: Final = 2**24
"""Pixels that are averaged at once; a row of tiles is decoded however large it is."""


def read_overview(path: str | PathLike[str], longest_side: int = LONGEST_SIDE) -> tuple[Pixels, float]:
    """The whole image, reduced by averaging square blocks of pixels; one that is small enough as it is.

    A pyramid is read at its coarsest level that is not smaller than the overview, a JPEG is decoded at an eighth,
    quarter or half of its size where that is enough, and all else is read band by band.

    Parameters
    ----------
    path
        The image.
    longest_side
        Pixels of the overview's longer side at most.

    Returns
    -------
    (height, width, 3) uint8, and its pixels per pixel of the full resolution.

    Raises
    ------
    ImageError
        As `stalign_core.images.open_slide`.
    """
    path = Path(path)
    kind = image_format(path)
    if kind == "jpeg":
        decoded, fraction = reduced_jpeg(path, longest_side)
        pixels, scale = reduce_pixels(decoded, longest_side)
        return pixels, fraction * scale
    if kind == "zarr":
        return _reduced(*ome_zarr_tiles(path, longest_side), longest_side)
    if kind == "tiff":
        return _reduced(*tiff_tiles(path, longest_side), longest_side)
    return _reduced(picture_tiles(path, kind), 1.0, longest_side)


def reduce_pixels(pixels: Pixels, longest_side: int) -> tuple[Pixels, float]:
    """A picture in memory, reduced by averaging square blocks of pixels.

    Parameters
    ----------
    pixels
        (height, width, 3) uint8.
    longest_side
        Pixels of the longer side at most.

    Returns
    -------
    (height, width, 3) uint8, and its pixels per pixel of the given ones.
    """
    step = _step(pixels.shape[1], pixels.shape[0], longest_side)
    return _block_means(pixels, step), 1 / step


def _reduced(source: TileSource, scale: float, longest_side: int) -> tuple[Pixels, float]:
    """What a source of this scale shows, reduced to the longest side."""
    with Slide(source, cache_bytes=0) as slide:
        step = _step(slide.width, slide.height, longest_side)
        rows = max(source.tile_height // step, _BAND_BYTES // (3 * slide.width * step), 1) * step
        last = slide.height - slide.height % step
        bands = [
            _block_means(slide.read_region(0, top, slide.width, min(top + rows, last)), step)
            for top in range(0, last, rows)
        ]
    return np.concatenate(bands), scale / step


def _step(width: int, height: int, longest_side: int) -> int:
    """Side of the blocks that are averaged; no larger than the shorter side, so that something is left."""
    return max(1, min(math.ceil(max(width, height) / longest_side), width, height))


def _block_means(pixels: Pixels, step: int) -> Pixels:
    """Means of blocks of `step` x `step` pixels; what does not fill a block at the far edges is left out."""
    if step == 1:
        return pixels
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    blocks = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    # Sums of bytes of whole blocks: 32 bits hold blocks of up to 4,096 pixels a side.
    sums = blocks.sum(axis=(1, 3), dtype=np.uint32)
    means: Pixels = ((sums + step * step // 2) // (step * step)).astype(np.uint8)
    return means

"""The two things done with an image file: look at its header, or open it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from stalign_core.images.facts import ImageFacts, image_format
from stalign_core.images.ome_zarr import ome_zarr_tiles, probe_ome_zarr
from stalign_core.images.picture import picture_tiles, probe_picture
from stalign_core.images.slide import CACHE_BYTES, Slide
from stalign_core.images.tiff import probe_tiff, tiff_tiles


def probe_image(path: str | PathLike[str]) -> ImageFacts:
    """Size and kind of an image from its header, in milliseconds; no pixel is decoded.

    A file that ends before its pixels do is found here; damage within compressed pixels is found when they
    are read.

    Raises
    ------
    ImageError
        If the file is missing, empty, of an unsupported format, incomplete, or its header is damaged.
    """
    path = Path(path)
    kind = image_format(path)
    if kind == "zarr":
        return probe_ome_zarr(path)
    return probe_tiff(path) if kind == "tiff" else probe_picture(path, kind)


def open_slide(path: str | PathLike[str], cache_bytes: int = CACHE_BYTES) -> Slide:
    """Open an image for reading in windows of 8-bit RGB.

    A TIFF is read tile by tile or strip by strip, an uncompressed one through a memory map, an OME-Zarr folder chunk by
    chunk. JPEG and PNG are
    decoded once into a temporary file: see `stalign_core.images.picture` for the bound.

    Parameters
    ----------
    path
        The image.
    cache_bytes
        Memory for decoded tiles.

    Raises
    ------
    ImageError
        As `probe_image`, and if pixels are of a kind that H&E images do not have or cannot be decoded.
    """
    path = Path(path)
    kind = image_format(path)
    if kind == "zarr":
        return Slide(ome_zarr_tiles(path)[0], cache_bytes)
    return Slide(tiff_tiles(path)[0] if kind == "tiff" else picture_tiles(path, kind), cache_bytes)

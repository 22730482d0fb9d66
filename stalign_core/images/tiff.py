"""TIFF files: windows of the full-resolution plane, decoding only the tiles or strips they touch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import ImageError
from stalign_core.images.facts import ImageFacts
from stalign_core.images.faults import image_faults
from stalign_core.images.pixels import Pixels, to_rgb
from stalign_core.images.pyramid import coarsest_level
from stalign_core.images.slide import TileSource

MAX_SEGMENT_BYTES: Final = 2**30
"""Largest strip or tile that is decoded, in bytes: it has no windows, so it must fit in memory."""
MAPPED_TILE: Final = 512
"""Side of the tiles cut from uncompressed files, which have random access of their own."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG_COMPRESSIONS = (6, 7)
_ALPHA_KINDS = (1, 2)
_MAX_SAMPLE_VALUE_TAG = 281
_PLANE_AXES = "CSQ"
_CONVERT = "convert it to an RGB TIFF, for example with 'vips tiffsave in.tif out.tif --tile --pyramid --bigtiff'"


@dataclass(frozen=True)
class _Layout:
    """How the samples of a plane are stored."""

    channel_axis: int | None
    n_samples: int
    n_color_samples: int
    full_scale: float
    inverted: bool
    palette: NDArray[np.uint8] | None

    def rgb(self, samples: NDArray[Any]) -> Pixels:
        """(height, width, n_samples) stored samples as RGB."""
        if self.palette is not None:
            return np.ascontiguousarray(self.palette[samples[..., 0]])
        color = to_rgb(samples[..., : self.n_color_samples], self.full_scale)
        return np.subtract(255, color, dtype=np.uint8) if self.inverted else color


class _SegmentTiles:
    """Tiles are the file's own tiles or strips, decoded one at a time through zarr."""

    def __init__(self, path: Path, tiff: Any, series: Any, layout: _Layout, facts: ImageFacts) -> None:
        import zarr

        self.facts = facts
        self._path = path
        self._tiff = tiff
        self._layout = layout
        self._array: Any = zarr.open(series.aszarr(level=0), mode="r")
        y_axis, x_axis = (axis for axis in range(self._array.ndim) if axis != layout.channel_axis)
        self.tile_height = int(self._array.chunks[y_axis])
        self.tile_width = int(self._array.chunks[x_axis])
        segment_bytes = int(np.prod(self._array.chunks)) * self._array.dtype.itemsize
        if segment_bytes > MAX_SEGMENT_BYTES:
            raise ImageError(
                str(path),
                f"is compressed in pieces of {segment_bytes / 2**20:,.0f} MiB, which have no windows",
                expected=f"tiles or strips of at most {MAX_SEGMENT_BYTES / 2**20:,.0f} MiB",
                remedy=_CONVERT,
            )

    def read_tile(self, row: int, column: int) -> Pixels:
        rows = slice(row * self.tile_height, (row + 1) * self.tile_height)
        columns = slice(column * self.tile_width, (column + 1) * self.tile_width)
        with image_faults(self._path, "decoded"):
            return self._layout.rgb(self._samples(rows, columns))

    def _samples(self, rows: slice, columns: slice) -> NDArray[Any]:
        axis = self._layout.channel_axis
        if axis is None:
            return np.asarray(self._array[rows, columns])[..., np.newaxis]
        if axis == 2:
            return np.asarray(self._array[rows, columns])
        # one request per plane: zarr answers a damaged one among several with stray messages
        planes = [np.asarray(self._array[plane, rows, columns]) for plane in range(self._layout.n_samples)]
        return np.stack(planes, axis=-1)

    def close(self) -> None:
        self._array.store.close()
        self._tiff.close()


class _MappedTiles:
    """Tiles cut from a contiguous, uncompressed plane in the file, mapped into memory."""

    tile_height = MAPPED_TILE
    tile_width = MAPPED_TILE

    def __init__(self, path: Path, tiff: Any, series: Any, layout: _Layout, facts: ImageFacts) -> None:
        self.facts = facts
        self._layout = layout
        dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
        plane: NDArray[Any] = np.memmap(
            path, dtype=dtype, mode="r", offset=series.dataoffset, shape=tuple(series.shape)
        )
        tiff.close()
        if layout.channel_axis is None:
            plane = plane[..., np.newaxis]
        self._plane = np.moveaxis(plane, -1 if layout.channel_axis is None else layout.channel_axis, -1)

    def read_tile(self, row: int, column: int) -> Pixels:
        rows = slice(row * self.tile_height, (row + 1) * self.tile_height)
        columns = slice(column * self.tile_width, (column + 1) * self.tile_width)
        return self._layout.rgb(np.array(self._plane[rows, columns]))

    def close(self) -> None:
        del self._plane


def probe_tiff(path: Path) -> ImageFacts:
    """Read the headers only, and check that every tile or strip lies within the file."""
    with image_faults(path, "read"):
        tiff = _open(path)
        try:
            return _facts(path, _largest_series(path, tiff))
        finally:
            tiff.close()


def tiff_tiles(path: Path, longest_side: int | None = None) -> tuple[TileSource, float]:
    """Open a level of the pyramid for reading tile by tile.

    Parameters
    ----------
    longest_side
        Pixels that the longer side needs at least; None for the full resolution.

    Returns
    -------
    The tiles of the coarsest level that is large enough, and its pixels per pixel of the full resolution.
    """
    with image_faults(path, "read"):
        tiff = _open(path)
        try:
            finest = _largest_series(path, tiff)
            # Levels of other axes are no part of the pyramid.
            levels = [finest, *(level for level in finest.levels[1:] if level.axes == finest.axes)]
            series = coarsest_level(levels, lambda level: (_extent(level, "X"), _extent(level, "Y")), longest_side)
            facts = _facts(path, series)
            layout = _layout(path, series)
            mapped = series.dataoffset is not None and series.keyframe.is_memmappable
            tiles = (_MappedTiles if mapped else _SegmentTiles)(path, tiff, series, layout, facts)
            return tiles, facts.width / _extent(finest, "X")
        except BaseException:
            tiff.close()
            raise


def _open(path: Path) -> Any:
    import tifffile

    log = logging.getLogger("tifffile")
    # what it logs about a damaged file would be printed beside our own one line
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return tifffile.TiffFile(path)


def _largest_series(path: Path, tiff: Any) -> Any:
    """The full-resolution plane: scanners put labels, macros and thumbnails beside it."""
    all_series = list(tiff.series)
    if not all_series:
        raise ImageError(str(path), "holds no image", remedy="the file may be incomplete: copy it again")
    largest = max(all_series, key=lambda series: _extent(series, "Y") * _extent(series, "X"))
    planes = _plane_axes(largest)
    if len(planes) > 1 or not set(planes) <= set(_PLANE_AXES) or "Y" not in largest.axes:
        raise ImageError(
            str(path),
            f"holds a stack of shape {tuple(largest.shape)} (axes {largest.axes})",
            expected="one RGB or grey plane",
            remedy=_CONVERT,
        )
    return largest


def _extent(series: Any, axis: str) -> int:
    return int(series.shape[series.axes.index(axis)]) if axis in series.axes else 0


def _plane_axes(series: Any) -> str:
    return "".join(axis for axis in series.axes if axis not in "YX")


def _facts(path: Path, series: Any) -> ImageFacts:
    _check_extents(path, series)
    planes = _plane_axes(series)
    return ImageFacts(
        width=_extent(series, "X"),
        height=_extent(series, "Y"),
        channels=_extent(series, planes) if planes else 1,
        format="tiff",
    )


def _check_extents(path: Path, series: Any) -> None:
    own_file = series.keyframe.parent.filehandle
    for page in series.pages:
        # an OME-TIFF may spread its planes over files, of which only this one is measured
        if page is None or page.parent.filehandle is not own_file:
            continue
        ends = np.asarray(page.dataoffsets, dtype=np.int64) + np.asarray(page.databytecounts, dtype=np.int64)
        if ends.size == 0 or ends.max() > own_file.size:
            raise ImageError(
                str(path),
                f"is incomplete: its pixels need {int(ends.max(initial=0)):,} bytes, it has {own_file.size:,}",
                remedy="copy the image again",
            )


def _layout(path: Path, series: Any) -> _Layout:
    page = series.keyframe
    planes = _plane_axes(series)
    n_samples = _extent(series, planes) if planes else 1
    photometric, dtype = int(page.photometric), np.dtype(series.dtype)
    readable = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE) or (
        photometric == _YCBCR and int(page.compression) in _JPEG_COMPRESSIONS
    )
    if not readable or dtype not in (bool, np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ImageError(
            str(path),
            f"stores {dtype} samples as {getattr(page.photometric, 'name', photometric)}",
            expected="RGB, grey or palette of 8 or 16 bits",
            remedy=_CONVERT,
        )
    return _Layout(
        channel_axis=series.axes.index(planes) if planes else None,
        n_samples=n_samples,
        n_color_samples=_n_color_samples(path, page, n_samples),
        full_scale=_full_scale(page, dtype),
        inverted=photometric == _WHITE_IS_ZERO,
        palette=_palette(page) if photometric == _PALETTE else None,
    )


def _n_color_samples(path: Path, page: Any, n_samples: int) -> int:
    """Samples that make the colour, and alpha where there is one; others are not shown."""
    if n_samples in (1, 3):
        return n_samples
    has_alpha = any(int(kind) in _ALPHA_KINDS for kind in page.extrasamples)
    if int(page.photometric) == _RGB and n_samples >= 4:
        return 4 if has_alpha else 3
    if n_samples == 2 and has_alpha:
        return 2
    raise ImageError(
        str(path),
        f"has {n_samples} channels",
        expected="a brightfield H&E image with 1 (grey), 3 (RGB) or 4 (RGB, alpha)",
        remedy=_CONVERT,
    )


def _full_scale(page: Any, dtype: np.dtype[Any]) -> float:
    if dtype.kind in "fb":
        return 1.0
    tag = page.tags.get(_MAX_SAMPLE_VALUE_TAG) if hasattr(page, "tags") else None
    # scanners of 12 bits often store them in 16 and say so here
    if dtype == np.uint16 and tag is not None:
        stated = int(np.max(tag.value))
        if stated > 0:
            return float(stated)
    bits = page.bitspersample
    return float(2 ** int(bits if isinstance(bits, int) else max(bits)) - 1)


def _palette(page: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray((np.asarray(page.colormap).T >> 8).astype(np.uint8))

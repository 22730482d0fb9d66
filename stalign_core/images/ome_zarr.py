"""Images kept as a folder of OME-Zarr (NGFF 0.4 or 0.5, SpatialData's included): windows of the finest scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from stalign_core.errors import ImageError
from stalign_core.images.facts import ImageFacts
from stalign_core.images.faults import image_faults
from stalign_core.images.pixels import Pixels, to_rgb
from stalign_core.images.pyramid import coarsest_level
from stalign_core.images.slide import TileSource

MAX_CHUNK_BYTES: Final = 2**30
"""Largest chunk that is decoded, in bytes: it has no windows, so it must fit in memory."""
_PLANE: Final = ("c", "y", "x")


class _ChunkTiles:
    """Tiles are the columns of chunks over one place of the plane, all channels together."""

    def __init__(self, path: Path, array: Any, axes: tuple[str, ...]) -> None:
        self.facts = _facts(path, array, axes)
        self._path = path
        self._array = array
        self._axes = axes
        self.tile_height, self.tile_width = (int(array.chunks[axes.index(axis)]) for axis in "yx")
        chunk_bytes = self.tile_height * self.tile_width * self.facts.channels * array.dtype.itemsize
        if chunk_bytes > MAX_CHUNK_BYTES:
            raise ImageError(
                str(path),
                f"is stored in chunks of {chunk_bytes / 2**20:,.0f} MiB, which have no windows",
                expected=f"chunks of at most {MAX_CHUNK_BYTES / 2**20:,.0f} MiB",
                remedy="write it in chunks of 1,024 pixels",
            )

    def read_tile(self, row: int, column: int) -> Pixels:
        places = {
            "y": slice(row * self.tile_height, (row + 1) * self.tile_height),
            "x": slice(column * self.tile_width, (column + 1) * self.tile_width),
        }
        with image_faults(self._path, "decoded"):
            samples = np.asarray(self._array[tuple(places.get(axis, slice(None)) for axis in self._axes)])
            return to_rgb(np.transpose(samples, [self._axes.index(axis) for axis in "yxc"]), _full_scale(samples.dtype))

    def close(self) -> None:
        self._array.store.close()


def probe_ome_zarr(path: Path) -> ImageFacts:
    """Size and channels from the metadata."""
    scales, axes = _scales(path)
    return _facts(path, scales[0], axes)


def ome_zarr_tiles(path: Path, longest_side: int | None = None) -> tuple[TileSource, float]:
    """Open a scale for reading chunk by chunk.

    Parameters
    ----------
    longest_side
        Pixels that the longer side needs at least; None for the finest scale.

    Returns
    -------
    The tiles of the coarsest scale that is large enough, and its pixels per pixel of the finest.
    """
    scales, axes = _scales(path)
    x, y = axes.index("x"), axes.index("y")
    array = coarsest_level(scales, lambda scale: (scale.shape[x], scale.shape[y]), longest_side)
    if array.dtype not in (bool, np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ImageError(str(path), f"stores {array.dtype} samples", expected="RGB of 8 or 16 bits")
    return _ChunkTiles(path, array, axes), array.shape[x] / scales[0].shape[x]


def _scales(path: Path) -> tuple[list[Any], tuple[str, ...]]:
    """The arrays of the pyramid, of which NGFF requires the first to be the finest, and the names of their axes."""
    import zarr

    with image_faults(path, "read"):
        group = zarr.open_group(path, mode="r")
        attributes = group.attrs.asdict()
        scales = attributes.get("ome", attributes).get("multiscales")
        if not scales:
            raise ImageError(str(path), "is a Zarr folder that holds no image", expected="an OME-Zarr image")
        axes = tuple(axis["name"] if isinstance(axis, dict) else str(axis) for axis in scales[0]["axes"])
        return [group[dataset["path"]] for dataset in scales[0]["datasets"]], axes


def _facts(path: Path, array: Any, axes: tuple[str, ...]) -> ImageFacts:
    size = dict(zip(axes, array.shape, strict=True))
    if sorted(axes) != sorted(_PLANE) or size["c"] not in (1, 3, 4):
        raise ImageError(
            str(path),
            f"holds an image of shape {tuple(array.shape)} (axes {', '.join(axes)})",
            expected="one plane (axes c, y, x) with 1 (grey), 3 (RGB) or 4 (RGB, alpha) channels",
        )
    return ImageFacts(width=int(size["x"]), height=int(size["y"]), channels=int(size["c"]), format="zarr")


def _full_scale(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0

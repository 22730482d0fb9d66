"""A slide: windows of an image, cut from a bounded cache of decoded tiles."""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stalign_core.images.facts import ImageFacts
from stalign_core.images.pixels import Pixels

WHITE: Final = 255
CACHE_BYTES: Final = 192 * 2**20
"""Decoded tiles kept, in bytes of RGB; one tile is kept however large it is."""


class TileSource(Protocol):
    """An image cut into tiles that can be decoded one by one."""

    facts: ImageFacts
    tile_height: int
    tile_width: int

    def read_tile(self, row: int, column: int) -> Pixels:
        """The tile at that place of the tiling; those on the far edges end with the image."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Slide:
    """An open image, read in windows; a context manager, to be used by one thread at a time.

    Parameters
    ----------
    source
        Where tiles come from.
    cache_bytes
        Memory for decoded tiles.

    Attributes
    ----------
    n_tiles_decoded
        Tiles decoded so far, repeats included.
    """

    def __init__(self, source: TileSource, cache_bytes: int = CACHE_BYTES) -> None:
        self._source = source
        self._cache_bytes = cache_bytes
        self._tiles: OrderedDict[tuple[int, int], Pixels] = OrderedDict()
        self._cached_bytes = 0
        self.n_tiles_decoded = 0

    @property
    def facts(self) -> ImageFacts:
        """Size and format."""
        return self._source.facts

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self._source.facts.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._source.facts.height

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and the cached tiles."""
        self._tiles.clear()
        self._cached_bytes = 0
        self._source.close()

    def read_region(self, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        """Pixels of the window [x0, x1) x [y0, y1); what lies outside the image is white.

        Returns
        -------
        (y1 - y0, x1 - x0, 3) uint8

        Raises
        ------
        ValueError
            If the window has no area.
        ImageError
            If a tile cannot be decoded.
        """
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"the window [{x0}, {x1}) x [{y0}, {y1}) has no area")
        left, right = max(x0, 0), min(x1, self.width)
        top, bottom = max(y0, 0), min(y1, self.height)
        window = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        if (left, right, top, bottom) != (x0, x1, y0, y1):
            window[...] = WHITE
        if left >= right or top >= bottom:
            return window
        tile_height, tile_width = self._source.tile_height, self._source.tile_width
        for row in range(top // tile_height, (bottom - 1) // tile_height + 1):
            for column in range(left // tile_width, (right - 1) // tile_width + 1):
                tile = self._tile(row, column)
                tile_y, tile_x = row * tile_height, column * tile_width
                above, below = max(top, tile_y), min(bottom, tile_y + tile_height)
                before, after = max(left, tile_x), min(right, tile_x + tile_width)
                window[above - y0 : below - y0, before - x0 : after - x0] = tile[
                    above - tile_y : below - tile_y, before - tile_x : after - tile_x
                ]
        return window

    def reading_order(self, x: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.intp]:
        """The order in which windows with these upper left corners decode nearly every tile once.

        Windows go along rows of tiles, so that the row below a window is still cached when its own turn comes.
        Where two rows of tiles across the whole image exceed the cache, the image is taken in vertical bands
        that do not, and only tiles on the seams of bands are decoded again.

        Parameters
        ----------
        x, y
            (n,) pixels.

        Returns
        -------
        (n,) indices
        """
        tile_height, tile_width = self._source.tile_height, self._source.tile_width
        tiles_per_band = max(self._cache_bytes // (2 * tile_height * tile_width * 3) - 2, 1)
        band = (x // tile_width) // tiles_per_band
        return np.lexsort((x, y // tile_height, band))

    def _tile(self, row: int, column: int) -> Pixels:
        key = (row, column)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        tile = self._source.read_tile(row, column)
        self.n_tiles_decoded += 1
        while self._tiles and self._cached_bytes + tile.nbytes > self._cache_bytes:
            _, dropped = self._tiles.popitem(last=False)
            self._cached_bytes -= dropped.nbytes
        self._tiles[key] = tile
        self._cached_bytes += tile.nbytes
        return tile

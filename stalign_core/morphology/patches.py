"""Square patches around spots, read from a slide in the order that decodes each tile about once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from stalign_core.images import Slide
from stalign_core.images.pixels import Pixels

MAX_PREPARING_THREADS: Final = 4
MAX_WAITING: Final = 8
"""Patches that are read and not yet prepared, at most: ten spot diameters across, one may take 15 MB."""

Item = TypeVar("Item")


def patch_side(patch_diameters: float, spot_diameter: float, image_scale: float) -> int:
    """Side of a patch in pixels of the image: the nearest whole number, at least 1.

    Parameters
    ----------
    patch_diameters
        Side in spot diameters.
    spot_diameter
        In full-resolution pixels.
    image_scale
        Pixels of the image per full-resolution pixel.
    """
    return max(round(patch_diameters * spot_diameter * image_scale), 1)


class PatchReader:
    """Patches of one side around many centres.

    A patch covers whole pixels: its corner is the whole pixel nearest to the true one, so its centre is at most
    half a pixel from the spot's along each axis. What lies beyond the image is white. A spot whose own centre lies
    outside the image has no patch.

    Parameters
    ----------
    slide
        The open image, used by this reader alone while it reads.
    centers
        (n, 2) positions (x, y) in pixels of the image, pixel i reaching from i to i + 1.
    side
        Of a patch, in pixels.

    Attributes
    ----------
    observed
        (n,) whether a spot has a patch.
    """

    def __init__(self, slide: Slide, centers: NDArray[np.floating], side: int) -> None:
        self._slide = slide
        self._side = side
        inside = (centers >= 0) & (centers < np.array([slide.width, slide.height]))
        self.observed: NDArray[np.bool_] = np.logical_and(inside[:, 0], inside[:, 1])
        corners = np.zeros(centers.shape, dtype=np.int64)
        corners[self.observed] = np.floor(centers[self.observed] - side / 2 + 0.5)
        self._corners = corners

    @property
    def n_observed(self) -> int:
        """Spots that have a patch."""
        return int(self.observed.sum())

    def sample(self, n_patches: int, rng: np.random.Generator) -> Iterator[Pixels]:
        """Patches of `n_patches` observed spots drawn at random (all, where there are fewer), one at a time."""
        spots = np.flatnonzero(self.observed)
        if len(spots) > n_patches:
            spots = rng.choice(spots, n_patches, replace=False)
        return (self._read(spot) for spot in self._in_reading_order(spots))

    def batches(
        self, batch_size: int, prepare: Callable[[Pixels], Pixels]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Prepared patches of all observed spots, batch by batch, with the indices of their spots.

        Patches come in the slide's reading order, which depends on nothing but positions and tiling. They are
        prepared by a few threads while the next are read, and only prepared ones are kept beside `MAX_WAITING` others.

        Parameters
        ----------
        batch_size
            Patches per batch; the last may be smaller.
        prepare
            The encoder's preprocessing of one (side, side, 3) patch.
        """
        spots = self._in_reading_order(np.flatnonzero(self.observed))
        with ThreadPoolExecutor(min(MAX_PREPARING_THREADS, os.cpu_count() or 1)) as pool:
            for start in range(0, len(spots), batch_size):
                batch = spots[start : start + batch_size]
                yield batch, np.stack(self._prepared(batch, prepare, pool))

    def _in_reading_order(self, spots: NDArray[np.intp]) -> NDArray[np.intp]:
        corners = np.maximum(self._corners[spots], 0)
        return spots[self._slide.reading_order(corners[:, 0], corners[:, 1])]

    def _prepared(
        self, spots: NDArray[np.intp], prepare: Callable[[Pixels], Pixels], pool: ThreadPoolExecutor
    ) -> list[Pixels]:
        waiting: deque[Future[Pixels]] = deque()
        done: list[Pixels] = []
        for spot in spots:
            if len(waiting) == MAX_WAITING:
                done.append(waiting.popleft().result())
            waiting.append(pool.submit(prepare, self._read(spot)))
        return done + [one.result() for one in waiting]

    def _read(self, spot: int) -> Pixels:
        x, y = (int(corner) for corner in self._corners[spot])
        return self._slide.read_region(x, y, x + self._side, y + self._side)


def prefetched(items: Iterator[Item], n_ahead: int = 2) -> Iterator[Item]:
    """The same items, made in another thread, `n_ahead` of them before they are asked for."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="stalign-prefetch") as pool:
        coming = deque(pool.submit(next, items, end) for _ in range(n_ahead))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]

"""Nearest spots in an embedding, found exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MIN_NEIGHBORHOOD: Final = 10


@dataclass(frozen=True)
class Neighborhoods:
    """Each spot with the spots nearest to it in an embedding.

    Attributes
    ----------
    indices
        (n_measured, size) int32 rows of the embedding; the first is the spot itself.
    distances
        (n_measured, size) float32, Euclidean.
    """

    indices: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]

    @property
    def size(self) -> int:
        """Spots in a neighbourhood, the spot itself included."""
        return int(self.indices.shape[1])


def neighborhood_size(batches: npt.NDArray[Any], n_neighbors: int) -> int:
    """Neighbourhood that small batches can still fill: at most a quarter of the mean batch, and 10 at least.

    A neighbourhood as large as the data set would mix all batches by its size alone; a quarter of the mean batch is the
    rule of kBET (Buettner et al. 2019).

    Parameters
    ----------
    batches
        (n_spots,) batch of each spot.
    n_neighbors
        Upper bound: the setting.
    """
    quarter_of_batch = len(batches) // (4 * len(np.unique(np.asarray(batches).astype(str))))
    return min(n_neighbors, max(MIN_NEIGHBORHOOD, quarter_of_batch), len(batches))


def find_neighborhoods(
    embedding: npt.NDArray[Any], size: int, rows: npt.NDArray[np.integer[Any]] | None = None
) -> Neighborhoods:
    """Exact nearest neighbours among all spots, the spot itself first even where others coincide with it.

    Parameters
    ----------
    embedding
        (n_spots, n_features).
    size
        Spots in a neighbourhood, the spot itself included; 2 to n_spots.
    rows
        Spots whose neighbours are looked for, (n_measured,); all unless given.
    """
    from sklearn.neighbors import NearestNeighbors

    points = np.asarray(embedding, dtype=np.float32)
    if rows is None:
        search = NearestNeighbors(n_neighbors=size - 1, algorithm="brute").fit(points)
        distances, indices = search.kneighbors()
        own = np.arange(len(points))[:, None]
    else:
        search = NearestNeighbors(n_neighbors=size, algorithm="brute").fit(points)
        own = np.asarray(rows)[:, None]
        distances, indices = _without(own, *search.kneighbors(points[rows]))
    return Neighborhoods(
        np.concatenate([own, indices], axis=1).astype(np.int32),
        np.concatenate([np.zeros_like(own), distances], axis=1).astype(np.float32),
    )


def _without(
    own: npt.NDArray[np.integer[Any]], distances: npt.NDArray[Any], indices: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Neighbours that are not the spot itself, which may be anywhere among, or outside, those that coincide with it."""
    others = indices != own
    others[others.all(axis=1), -1] = False
    shape = (len(indices), indices.shape[1] - 1)
    return distances[others].reshape(shape), indices[others].reshape(shape)

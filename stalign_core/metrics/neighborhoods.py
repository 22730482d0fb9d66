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
        (n_spots, size) int32 rows; the first is the spot itself.
    distances
        (n_spots, size) float32, Euclidean.
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


def find_neighborhoods(embedding: npt.NDArray[Any], size: int) -> Neighborhoods:
    """Exact nearest neighbours, the spot itself first even where others coincide with it.

    Parameters
    ----------
    embedding
        (n_spots, n_features).
    size
        Spots in a neighbourhood, the spot itself included; 2 to n_spots.
    """
    from sklearn.neighbors import NearestNeighbors

    points = np.asarray(embedding, dtype=np.float32)
    distances, indices = NearestNeighbors(n_neighbors=size - 1, algorithm="brute").fit(points).kneighbors()
    own = np.arange(len(points))[:, None]
    return Neighborhoods(
        np.concatenate([own, indices], axis=1).astype(np.int32),
        np.concatenate([np.zeros_like(own), distances], axis=1).astype(np.float32),
    )

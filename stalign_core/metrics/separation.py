"""Separation of groups of spots in an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

OUTSIDE: Final = -1
"""Code of a spot that belongs to no group of a division."""

_CHUNK_VALUES: Final = 16_000_000
"""Distances held at once: 64 MB."""


def rescaled_silhouettes(
    embedding: npt.NDArray[Any], divisions: Mapping[str, npt.NDArray[np.integer[Any]]]
) -> dict[str, float]:
    """Mean silhouette width of several divisions of the same spots, each rescaled to [0, 1].

    The silhouette of a spot is (b - a) / max(a, b): a is its mean distance to the other spots of its group, b the
    smallest mean distance to another group (Rousseeuw 1987); a spot alone in its group has 0. The mean s is given as
    (s + 1) / 2, as single-cell benchmarks report the width of cell labels (Luecken et al. 2022): 0.5 means overlap.
    Distances are Euclidean, computed once for all divisions, in single precision (which moves their sums by less than
    one part in a million).

    Parameters
    ----------
    embedding
        (n_spots, n_features).
    divisions
        By name, (n_spots,) group codes from 0; `OUTSIDE` leaves a spot out of that division. Each division needs two
        groups at least.

    Returns
    -------
    The rescaled mean width of each division.
    """
    points = np.asarray(embedding, dtype=np.float64)
    # Centred, so that subtracting squared lengths loses few digits.
    points = (points - points.mean(axis=0)).astype(np.float32)
    members = [_membership(codes) for codes in divisions.values()]
    sums = _distance_sums(points, np.concatenate(members, axis=1))
    bounds = np.cumsum([0, *(member.shape[1] for member in members)])
    return {
        name: float((_widths(sums[:, start:stop], codes).mean() + 1) / 2)
        for (name, codes), start, stop in zip(divisions.items(), bounds[:-1], bounds[1:], strict=True)
    }


def _membership(codes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
    inside = np.flatnonzero(codes != OUTSIDE)
    member = np.zeros((len(codes), int(codes.max()) + 1), dtype=np.float32)
    member[inside, codes[inside]] = 1
    return member


def _distance_sums(points: npt.NDArray[np.float32], members: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Sum of each spot's distances to the spots of each group: (n_spots, n_groups)."""
    # With the squared lengths beside them, one product of two matrices gives |x|^2 - 2 x.y + |y|^2.
    squares = np.einsum("ij,ij->i", points, points)[:, None]
    ones = np.ones_like(squares)
    left = np.concatenate([-2 * points, squares, ones], axis=1)
    right = np.concatenate([points, ones, squares], axis=1).T
    sums = np.empty(members.shape)
    n_rows = max(1, _CHUNK_VALUES // len(points))
    for start in range(0, len(points), n_rows):
        rows = slice(start, start + n_rows)
        distances = left[rows] @ right
        np.maximum(distances, 0, out=distances)
        np.sqrt(distances, out=distances)
        # Rounding leaves a little where a spot meets itself.
        own = np.arange(len(distances))
        distances[own, start + own] = 0
        sums[rows] = distances @ members
    return sums


def _widths(sums: npt.NDArray[np.float64], codes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    inside = np.flatnonzero(codes != OUTSIDE)
    own = codes[inside]
    sizes = np.bincount(own, minlength=sums.shape[1])
    to_groups = sums[inside] / np.maximum(sizes, 1)
    to_groups[:, sizes == 0] = np.inf
    rows = np.arange(len(inside))
    within = sums[inside, own] / np.maximum(sizes[own] - 1, 1)
    to_groups[rows, own] = np.inf
    between = to_groups.min(axis=1)
    larger = np.maximum(within, between)
    widths = np.divide(between - within, larger, out=np.zeros_like(larger), where=larger > 0)
    return np.where(sizes[own] > 1, widths, 0.0)

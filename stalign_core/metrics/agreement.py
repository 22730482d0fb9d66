"""Agreement of two divisions of the same spots."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def adjusted_rand_index(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Share of spot pairs on which both divisions agree, corrected for chance (Hubert and Arabie 1985).

    1 for the same division, 0 on average for unrelated ones; it can be negative.

    Parameters
    ----------
    first, second
        (n_spots,) names of groups.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(_codes(first), _codes(second)))


def normalized_mutual_information(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Mutual information over the mean of both entropies, in [0, 1] (Strehl and Ghosh 2002, arithmetic mean).

    Parameters
    ----------
    first, second
        (n_spots,) names of groups.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(_codes(first), _codes(second)))


def _codes(groups: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    return np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]

"""How many domains the data themselves suggest: the number that halves of the spots agree on best."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import SettingsError
from stalign_core.progress import Progress, silent

CANDIDATES: Final = tuple(range(3, 13))
"""Numbers that are compared. Two groups are left out: they nearly always agree, and say next to nothing."""
N_HALVES: Final = 4
MAX_SPOTS: Final = 20_000
MARGIN: Final = 0.01
"""Stabilities that differ by less are equal."""


@dataclass(frozen=True)
class CountChoice:
    """What was compared, and what was chosen.

    Attributes
    ----------
    n_domains
        The largest number whose stability comes within `MARGIN` of the best: coarser groups of groups are stable, too.
    stability
        Mean adjusted Rand index between groups that were fitted to different halves of the spots, by number.
    """

    n_domains: int
    stability: dict[int, float]


def choose_n_domains(
    features: NDArray[np.float32],
    nearest: NDArray[np.int64],
    sample: NDArray[np.int64],
    seed: int = 0,
    candidates: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> CountChoice:
    """Choose K without labels, by the stability of tied mixtures on neighbourhood means (Ben-Hur et al. 2002).

    Parameters
    ----------
    features
        Corrected expression, (n_spots, d).
    nearest
        Rows of the nearest spots of each spot, -1 where there are fewer, (n_spots, k).
    sample
        Sample of each spot, (n_spots,).
    seed
        Of halves, starts and the subsample of at most `MAX_SPOTS` spots.
    candidates
        Numbers to compare; empty for `CANDIDATES`.
    progress
        Told each number.

    Raises
    ------
    SettingsError
        If there are fewer than ten spots for each group of the smallest candidate.
    """
    from sklearn.metrics import adjusted_rand_score

    from stalign_core.aestetik.labels import directions, disagreement
    from stalign_core.aestetik.mixture import fit_tied_mixture

    rng = np.random.default_rng(seed)
    means = _neighbourhood_means(features, nearest)
    kept = np.sort(rng.permutation(len(means))[:MAX_SPOTS])
    rows, sample = means[kept], sample[kept]
    candidates = candidates or CANDIDATES
    possible = tuple(number for number in candidates if 10 * number <= len(rows))
    if not possible:
        raise SettingsError(
            "domains.n_domains",
            f"cannot be chosen from {len(rows)} spots",
            expected=f"{10 * min(candidates)} spots at least",
            remedy="give a number",
        )
    if disagreement(rows, sample) > 0:
        rows = directions(rows)
    shrinkage = disagreement(rows, sample)
    told = progress or silent
    stability = {}
    for done, number in enumerate(possible):
        told(f"comparing halves for {number} domains", done, len(possible))
        labels = []
        for half in range(N_HALVES):
            chosen = rng.random(len(rows)) < 0.5
            mixture = fit_tied_mixture(rows[chosen], number, np.random.default_rng([seed, half]), shrinkage)
            labels.append(mixture.predict(rows))
        stability[number] = float(np.mean([adjusted_rand_score(*pair) for pair in combinations(labels, 2)]))
    told("compared", len(possible), len(possible))
    enough = max(stability.values()) - MARGIN
    return CountChoice(max(number for number in possible if stability[number] >= enough), stability)


def _neighbourhood_means(features: NDArray[np.float32], nearest: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of each spot and its nearest, (n_spots, d)."""
    padded = np.vstack([features, np.zeros((1, features.shape[1]), dtype=features.dtype)]).astype(np.float64)
    group = np.column_stack([np.arange(len(features)), nearest])
    total = np.zeros((len(features), features.shape[1]))
    for column in group.T:
        total += padded[column]
    means: NDArray[np.float32] = (total / (group >= 0).sum(axis=1, keepdims=True)).astype(np.float32)
    return means

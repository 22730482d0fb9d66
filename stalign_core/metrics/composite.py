"""One score from biological conservation and batch mixing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

BIO_METRICS: Final = ("ari", "nmi", "silhouette")
BATCH_METRICS: Final = ("ilisi", "kbet")


def composite_score(values: Mapping[str, float], bio_weight: float) -> float:
    """``w * mean(ARI, NMI, silhouette) + (1 - w) * mean(iLISI, kBET)`` (after Luecken et al. 2022, unscaled).

    Parameters
    ----------
    values
        The pooled metrics, by name; all of `BIO_METRICS` and `BATCH_METRICS`.
    bio_weight
        Weight w of biological conservation, in [0, 1].

    Raises
    ------
    KeyError
        If one of the five is missing: a mean over fewer would not compare.
    """
    bio = float(np.mean([values[name] for name in BIO_METRICS]))
    batch = float(np.mean([values[name] for name in BATCH_METRICS]))
    return bio_weight * bio + (1 - bio_weight) * batch

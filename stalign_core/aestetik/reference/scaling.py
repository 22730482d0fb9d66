"""Channels between 0 and 1, as the published model has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik.inputs import ModelInput, Scaling


def fit_range(given: ModelInput) -> Scaling:
    """Minimum and range per channel; morphology's over the spots that have it."""
    parts = [_range(given.expression), _range(given.morphology[given.has_morphology])]
    origin = np.concatenate([part[0] for part in parts])
    unit = np.concatenate([part[1] for part in parts])
    return Scaling(origin, unit, given.expression.shape[1])


def _range(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32)
    lowest = rows.min(axis=0)
    width = rows.max(axis=0) - lowest
    width[width == 0] = 1
    return lowest, width


def range_channels(given: ModelInput, scaling: Scaling) -> NDArray[np.float32]:
    """(n, t + m) channels, 0 to 1 for spots that were fitted; missing morphology is NaN."""
    morphology = np.where(given.has_morphology[:, None], given.morphology, np.float32("nan"))
    channels = (np.hstack([given.expression, morphology]) - scaling.origin) / scaling.unit
    return channels.astype(np.float32)

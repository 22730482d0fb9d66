"""What the model is given: checked once, scaled by what was fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stalign_core.errors import ModelError


@dataclass(frozen=True)
class ModelInput:
    """Checked arrays of n spots.

    Attributes
    ----------
    expression, morphology
        (n, t) and (n, m) float32.
    lattice
        (n, 2) int32 packed (row, column).
    sample
        (n,) int64 from 0.
    has_morphology
        (n,) bool.
    hexagonal
        (n,) bool, whether a cell was packed from a hexagonal array; None where nobody said.
    """

    expression: NDArray[np.float32]
    morphology: NDArray[np.float32]
    lattice: NDArray[np.int32]
    sample: NDArray[np.int64]
    has_morphology: NDArray[np.bool_]
    hexagonal: NDArray[np.bool_] | None = None

    @property
    def n_spots(self) -> int:
        """How many spots there are."""
        return len(self.expression)


@dataclass(frozen=True)
class Scaling:
    """Origin and unit of each channel, expression first, as fitted.

    Attributes
    ----------
    origin, unit
        (t + m,) float32, what is subtracted and what is divided by: mean and deviation, or for the reference
        preset minimum and range. A channel without variation has unit 1.
    n_expression
        t.
    """

    origin: NDArray[np.float32]
    unit: NDArray[np.float32]
    n_expression: int

    def check_fits(self, given: ModelInput) -> None:
        """Raise a `ModelError` if `given` has other channels than those fitted."""
        shape = (given.expression.shape[1], given.morphology.shape[1])
        fitted = (self.n_expression, len(self.origin) - self.n_expression)
        if shape != fitted:
            raise ModelError(
                "expression and morphology", f"have {shape} features", expected=f"{fitted}, as when fitted"
            )

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The arrays to store, under the names that stored models have."""
        return {"mean": self.origin, "deviation": self.unit}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float32]], n_expression: int) -> Scaling:
        """The inverse of `to_arrays`."""
        return cls(arrays["mean"], arrays["deviation"], n_expression)


def check_input(
    expression: ArrayLike,
    morphology: ArrayLike,
    lattice: ArrayLike,
    sample: ArrayLike,
    has_morphology: ArrayLike | None,
    hexagonal: ArrayLike | None = None,
) -> ModelInput:
    """Arrays in the model's types.

    Raises
    ------
    ModelError
        If shapes disagree or a number is not finite.
    """
    features = np.asarray(expression, dtype=np.float32)
    pictures = np.asarray(morphology, dtype=np.float32)
    cells = np.asarray(lattice, dtype=np.int32)
    n_spots = len(features)
    codes = np.unique(np.asarray(sample), return_inverse=True)[1].astype(np.int64)
    present = np.ones(n_spots, bool) if has_morphology is None else np.asarray(has_morphology, dtype=bool)
    packed = None if hexagonal is None else np.asarray(hexagonal, dtype=bool)
    for name, shape, expected in (
        ("expression", features.shape, (n_spots, features.shape[-1])),
        ("morphology", pictures.shape, (n_spots, pictures.shape[-1])),
        ("lattice", cells.shape, (n_spots, 2)),
        ("sample", codes.shape, (n_spots,)),
        ("has_morphology", present.shape, (n_spots,)),
        ("hexagonal", (n_spots,) if packed is None else packed.shape, (n_spots,)),
    ):
        if shape != expected:
            raise ModelError(name, f"has shape {shape}", expected=f"{expected}")
    if not np.isfinite(features).all():
        raise ModelError(
            "expression", "holds numbers that are not finite", expected="a finite number for every feature"
        )
    if not np.isfinite(pictures[present]).all():
        raise ModelError("morphology", "holds numbers that are not finite", expected="them only where it is missing")
    return ModelInput(features, pictures, cells, codes, present, packed)


def fit_scaling(given: ModelInput) -> Scaling:
    """Mean and deviation per channel; morphology's over the spots that have it."""
    parts = [_moments(given.expression), _moments(given.morphology[given.has_morphology])]
    mean = np.concatenate([part[0] for part in parts])
    deviation = np.concatenate([part[1] for part in parts])
    return Scaling(mean, deviation, given.expression.shape[1])


def _moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32)
    deviation = rows.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-12] = 1
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32)


def scale_channels(given: ModelInput, scaling: Scaling) -> NDArray[np.float32]:
    """(n, t + m) standardised channels; missing morphology is zero, the mean of what is there."""
    morphology = np.where(given.has_morphology[:, None], given.morphology, scaling.origin[scaling.n_expression :])
    channels = (np.hstack([given.expression, morphology]) - scaling.origin) / scaling.unit
    return channels.astype(np.float32)

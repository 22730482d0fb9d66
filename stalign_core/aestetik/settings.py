"""Settings of the AESTETIK model, as one validated object of the standard library alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_type_hints

from stalign_core.errors import SettingsError

TripletLabels = Literal["tied", "kmeans"]


@dataclass(frozen=True, slots=True)
class AestetikSettings:
    """What the model is and how it is trained.

    Attributes
    ----------
    window
        Side of the neighbourhood grid, in spots; odd, 1 to 9. 1 means no spatial context.
    morphology_weight
        The paper's alpha, 0 (expression alone) to 3 (morphology alone).
    n_latent
        Length of the embedding of a spot.
    n_hidden
        Channels of the convolution.
    epochs
        Passes over the training spots; more make the embedding follow the triplet groups ever more closely.
    batch_size
        Spots per step, drawn from all samples.
    learning_rate
        Step size of the optimiser.
    reconstruction
        ``"l1"`` as the reference program has it, ``"mse"`` as the paper has it.
    triplet_labels
        What names the groups that positives and negatives are drawn from: ``"tied"``, a tied-covariance
        Gaussian mixture over neighbourhood means, or ``"kmeans"``, K-Means over single spots as in the paper.
    precision
        Lightning's precision of the training: ``"32-true"``, ``"bf16-mixed"`` and so on.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    SettingsError
        If a value has the wrong type or is impossible.
    """

    window: int = 5
    morphology_weight: float = 1.5
    n_latent: int = 16
    n_hidden: int = 64
    epochs: int = 30
    batch_size: int = 2048
    learning_rate: float = 1e-3
    reconstruction: Literal["l1", "mse"] = "l1"
    triplet_labels: TripletLabels = "tied"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(AestetikSettings).items():
            # 2 and 2.0 are one setting: the models that follow from them are the same.
            object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        if self.window % 2 == 0 or not 1 <= self.window <= 9:
            raise SettingsError("aestetik.window", f"is {self.window}", expected="an odd number from 1 to 9")
        if not 0 <= self.morphology_weight <= 3:
            raise SettingsError(
                "aestetik.morphology_weight", f"is {self.morphology_weight}", expected="a number from 0 to 3"
            )
        for name in ("n_latent", "n_hidden", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingsError(f"aestetik.{name}", f"is {getattr(self, name)}", expected="at least 1")
        if self.learning_rate <= 0:
            raise SettingsError("aestetik.learning_rate", f"is {self.learning_rate}", expected="a number above 0")


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind` (int, float or a Literal) has it."""
    if kind is int:
        fits, expected = isinstance(value, Integral) and not isinstance(value, bool), "a whole number"
    elif kind is float:
        fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        expected = "a finite number"
    else:
        fits, expected = value in get_args(kind), "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if not fits:
        raise SettingsError(f"aestetik.{name}", f"is {value!r}", expected=expected)
    return kind(value) if kind in (int, float) else value

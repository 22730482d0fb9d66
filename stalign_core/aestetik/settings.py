"""Settings of the AESTETIK model, as one validated object of the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_type_hints

from stalign_core.errors import SettingsError

TripletLabels = Literal["tied", "kmeans"]

REFERENCE_VALUES: Final[Mapping[str, Any]] = MappingProxyType(
    {"preset": "reference", "epochs": 100, "batch_size": 8192, "triplet_labels": "kmeans"}
)
"""What the reference preset sets unless told otherwise; the rest is as in the default."""
_ADDED: Final = ("preset", "multi_triplet", "partners", "devices", "train_fraction")
"""Settings that the first models did not have: at their defaults they change nothing."""


@dataclass(frozen=True, slots=True)
class AestetikSettings:
    """What the model is and how it is trained.

    Attributes
    ----------
    preset
        ``"default"``: one convolution shared by overlapping windows over packed cells, mean pooling.
        ``"reference"``: the model as published, three encoders and decoders over each spot's own window of array
        positions. `AestetikSettings.reference` also sets the published numbers.
    window
        Side of the neighbourhood grid, in cells; odd, 1 to 9. 1 means no spatial context.
    morphology_weight
        The paper's alpha, 0 (expression alone) to 3 (morphology alone).
    n_latent
        Length of the embedding of a spot.
    n_hidden
        Channels of the convolution.
    epochs
        Passes over the training spots; more make the embedding follow the triplet groups ever more closely.
    train_fraction
        Share of each sample's spots that the training passes over, above 0 and at most 1, for very large cohorts;
        all are embedded. With a tenth a pass has a tenth of the steps, so small cohorts need more epochs.
    batch_size
        Spots per step, drawn from all samples.
    learning_rate
        Step size of the optimiser.
    reconstruction
        ``"l1"`` as the reference program has it, ``"mse"`` as the paper has it.
    triplet_labels
        What names the groups that positives and negatives are drawn from: ``"tied"``, a tied-covariance
        Gaussian mixture over neighbourhood means, or ``"kmeans"``, K-Means over single spots as in the paper.
    multi_triplet
        Whether a spot is compared with every other group in each step, or with one, drawn at random.
    partners
        ``"any"``: positives and negatives come from anywhere. ``"across"``: a positive comes from another batch and
        a negative from the anchor's own, where `fit` is told the batches (stalign tells it the donors): donors are
        mixed more, at some cost in accuracy.
    precision
        Lightning's precision of the training: ``"32-true"``, ``"bf16-mixed"`` and so on.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    devices
        How many of them share a training, each with its part of every batch; on the CPU, processes.

    Raises
    ------
    SettingsError
        If a value has the wrong type or is impossible.
    """

    preset: Literal["default", "reference"] = "default"
    window: int = 5
    morphology_weight: float = 1.5
    n_latent: int = 16
    n_hidden: int = 64
    epochs: int = 30
    train_fraction: float = 1.0
    batch_size: int = 2048
    learning_rate: float = 1e-3
    reconstruction: Literal["l1", "mse"] = "l1"
    triplet_labels: TripletLabels = "tied"
    multi_triplet: bool = True
    partners: Literal["any", "across"] = "any"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1

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
        if not 0 < self.train_fraction <= 1:
            raise SettingsError(
                "aestetik.train_fraction", f"is {self.train_fraction}", expected="a number above 0 and at most 1"
            )
        for name in ("n_latent", "n_hidden", "epochs", "batch_size", "devices"):
            if getattr(self, name) < 1:
                raise SettingsError(f"aestetik.{name}", f"is {getattr(self, name)}", expected="at least 1")
        if self.learning_rate <= 0:
            raise SettingsError("aestetik.learning_rate", f"is {self.learning_rate}", expected="a number above 0")

    @classmethod
    def reference(cls, **changes: Any) -> AestetikSettings:
        """The model as published, with `changes` to single settings."""
        return cls(**{**REFERENCE_VALUES, **changes})

    def identity(self) -> dict[str, Any]:
        """What a trained model follows from.

        The device is left out, and so are added settings at their defaults: models that were trained before
        these existed are still what the settings ask for.
        """
        values = asdict(self)
        defaults = {field.name: field.default for field in fields(self)}
        unchanged = {name for name in _ADDED if values[name] == defaults[name]}
        return {name: value for name, value in values.items() if name not in unchanged | {"device"}}


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind` (bool, int, float or a Literal) has it."""
    if kind is bool:
        fits, expected = isinstance(value, bool), "true or false"
    elif kind is int:
        fits, expected = isinstance(value, Integral) and not isinstance(value, bool), "a whole number"
    elif kind is float:
        fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        expected = "a finite number"
    else:
        fits, expected = value in get_args(kind), "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if not fits:
        raise SettingsError(f"aestetik.{name}", f"is {value!r}", expected=expected)
    return kind(value) if kind in (int, float) else value

"""Settings of the AESTETIK model, as one validated object of the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from stalign_core.errors import SettingsError


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
    epochs
        Passes over the training spots.
    learning_rate
        Step size of the optimiser.
    reconstruction
        ``"l1"`` as the reference program has it, ``"mse"`` as the paper has it.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    window: int = 5
    morphology_weight: float = 1.5
    n_latent: int = 16
    epochs: int = 100
    learning_rate: float = 1e-3
    reconstruction: Literal["l1", "mse"] = "l1"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or not 1 <= self.window <= 9:
            raise SettingsError("aestetik.window", f"is {self.window}", expected="an odd number from 1 to 9")
        if not 0 <= self.morphology_weight <= 3:
            raise SettingsError(
                "aestetik.morphology_weight", f"is {self.morphology_weight}", expected="a number from 0 to 3"
            )
        for name in ("n_latent", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"aestetik.{name}", f"is {getattr(self, name)}", expected="at least 1")
        if self.learning_rate <= 0:
            raise SettingsError("aestetik.learning_rate", f"is {self.learning_rate}", expected="a number above 0")

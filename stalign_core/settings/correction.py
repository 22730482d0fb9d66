"""Settings of the correction methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt
from pydantic_core import PydanticCustomError

from stalign_core.settings.section import Section


def _registered(name: str) -> str:
    from stalign_core.correction.registry import METHODS

    if name not in METHODS:
        raise PydanticCustomError("unknown_method", "one of {known}", {"known": ", ".join(METHODS)})
    return name


CorrectionMethod = Annotated[str, AfterValidator(_registered)]
"""A name of `stalign_core.correction.registry.METHODS`."""


class HarmonySettings(Section):
    """Harmony (Korsunsky et al. 2019)."""

    theta: float = Field(2.0, ge=0, description="diversity penalty")
    max_iterations: PositiveInt = Field(10, description="rounds of clustering and correction")


class ScanoramaSettings(Section):
    """Scanorama (Hie et al. 2019)."""

    sigma: float = Field(15.0, gt=0, description="width of the correction's smoothing kernel")
    n_neighbors: PositiveInt = Field(20, description="neighbours in the search for mutual ones")
    max_spots: PositiveInt = Field(
        100_000, description="larger scopes are refused: time grows with the square of the spots"
    )


class ScviSettings(Section):
    """scVI (Lopez et al. 2018)."""

    n_layers: PositiveInt = Field(1, description="hidden layers of encoder and decoder")
    n_hidden: PositiveInt = Field(128, description="width of a hidden layer")
    max_epochs: PositiveInt = Field(400, description="upper bound; early stopping usually ends sooner")
    early_stopping_patience: PositiveInt = Field(5, description="epochs without a better validation ELBO")
    learning_rate: float = Field(4e-3, gt=0, description="step size; scvi-tools' own default is 1e-3")
    batch_size: PositiveInt = Field(256, description="spots per step")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where scVI is trained")


class CorrectionSettings(Section):
    """What is corrected for, and each method's own settings."""

    covariate: Literal["sample", "donor"] = Field("sample", description="the batch that correction removes")
    harmony: HarmonySettings = HarmonySettings()
    scanorama: ScanoramaSettings = ScanoramaSettings()
    scvi: ScviSettings = ScviSettings()

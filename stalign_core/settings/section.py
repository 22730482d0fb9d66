"""What every section of ``study.toml`` is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Unit = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of settings: unknown names and values of another type are refused."""

    # Strict: "20" or true where a number stands is a slip, and guessing would hide it.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

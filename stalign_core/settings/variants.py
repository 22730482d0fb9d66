"""Settings of variants: which choices stand side by side."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from stalign_core.settings.correction import CorrectionMethod
from stalign_core.settings.section import Section


class VariantSettings(Section):
    """One choice of representation, encoder, correction method and weights, by name."""

    correction: CorrectionMethod = Field("harmony", description="uncorrected, harmony, scanorama, scvi")
    representation: str = Field("pca", description="pca, or a name under [representations]")
    encoder: str = Field("texture", description="a name under [encoders]")
    aestetik: dict[str, Any] = Field(
        default_factory=dict, description="changes to [aestetik], or to a preset named here"
    )


def default_variants() -> dict[str, VariantSettings]:
    """One variant per correction method, named after it."""
    return {
        "uncorrected": VariantSettings(correction="uncorrected"),
        "harmony": VariantSettings(correction="harmony"),
        "scanorama": VariantSettings(correction="scanorama"),
        "scvi": VariantSettings(correction="scvi"),
    }


def variant_group(name: str) -> str:
    """A variant's name as part of a group's name, which holds letters, digits and ``_`` alone."""
    return name.replace("-", "_").replace(".", "_")

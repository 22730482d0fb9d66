"""Settings of what is made of each sample: input rules, expression, morphology, embeddings from elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from stalign_core.settings.section import Section


class InputSettings(Section):
    """What a sample must hold to take part."""

    min_spots: PositiveInt = Field(50, description="a section with fewer spots fails its check")
    min_genes: PositiveInt = Field(200, description="a section with fewer detected genes fails its check")


class ExpressionSettings(Section):
    """From counts to principal components."""

    min_spots_per_gene: PositiveInt = Field(10, description="genes seen in fewer spots of the scope are dropped")
    n_top_genes: PositiveInt = Field(3000, description="highly variable genes kept (seurat_v3, batch = sample)")
    target_sum: float = Field(1e4, gt=0, description="library size per spot after normalisation, over the panel")
    scaling: Literal["auto", "cohort", "sample"] = Field(
        "auto",
        description="what corrected variants standardise a gene over: all spots of the scope, each sample, or auto: "
        "each sample where the scope holds several donors; 'uncorrected' always takes all spots",
    )
    n_components: PositiveInt = Field(20, description="length of every expression space, corrected or not")

    def scaling_of(self, n_donors: int) -> Literal["cohort", "sample"]:
        """What corrected variants standardise genes over in a scope of this many donors.

        Standardising within samples removes most of what sets donors apart, and costs accuracy between adjacent
        sections of one donor.
        """
        if self.scaling == "auto":
            return "sample" if n_donors > 1 else "cohort"
        return self.scaling


class MorphologySettings(Section):
    """From the H&E image to principal components."""

    patch_diameters: float = Field(1.0, gt=0, le=10, description="side of a patch, in spot diameters")
    batch_size: PositiveInt = Field(64, description="patches per encoder call")
    n_components: PositiveInt = Field(20, description="length of the morphology space")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the encoder runs")
    stain_normalisation: Literal["none", "macenko", "reinhard"] = Field(
        "none", description="brings each slide's stains, fitted on its tissue, to a fixed reference before encoding"
    )


class EncoderSettings(Section):
    """One morphology encoder: a registered one by its name, or any timm model."""

    model: str = Field("texture", description="texture, inception_v3, uni2_h, or timm:<model name>")
    weights: str | None = Field(None, description="local checkpoint (.safetensors, .pth, .bin), used offline")
    revision: str | None = Field(
        None,
        description="commit of the hub whose published weights are taken (or a tag, or a branch); empty: its newest",
    )

    @field_validator("weights", "revision", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None


class RepresentationSettings(Section):
    """An expression embedding computed elsewhere, which replaces the PCA."""

    obsm: str = Field(description="obsm key that holds the matrix, one row per spot")
    file: str | None = Field(
        None,
        description="an .h5ad per sample, '{sample}' standing for its name; empty: the sample's own .h5ad",
    )

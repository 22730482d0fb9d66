"""Settings of domains and of their measurement."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError, ValidatorFunctionWrapHandler, field_validator

from stalign_core.errors import SettingsError
from stalign_core.settings.faults import shown
from stalign_core.settings.section import Section, Unit

Clusterer = Literal["kmeans", "tied"]


class DomainSettings(Section):
    """From embeddings to domains."""

    n_domains: PositiveInt | Literal["annotation"] | dict[str, PositiveInt] = Field(
        "annotation",
        description="K; or 'annotation', the number of labels in the scope; or a table of K per donor, "
        "'cohort' naming the cohort's; 'stalign run STUDY --n-domains auto' chooses it and writes it here",
    )
    clusterer: Clusterer = Field("tied", description="what names the domains: kmeans or tied Gaussian mixture")
    refine: bool = Field(True, description="majority vote over the nearest spots of the same sample")
    refine_neighbors: PositiveInt = Field(6, description="neighbours that vote, besides the spot itself")
    ignored_labels: tuple[str, ...] = Field(
        ("undetermined",),
        strict=False,  # TOML has lists alone
        description="labels that name no tissue: not counted in K, left out of scores",
    )

    @field_validator("n_domains", mode="wrap")
    @classmethod
    def _is_a_count(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """One line for what would be three, one per form that K may take."""
        try:
            return validate(value)
        except ValidationError:
            raise SettingsError(
                "domains.n_domains",
                f"is {shown(value)}",
                expected="a whole number above 0, 'annotation', or a table of such per donor",
                remedy="'stalign run STUDY --n-domains auto' chooses the number and writes it here"
                if value == "auto"
                else "",
            ) from None


class MetricSettings(Section):
    """How results are measured."""

    n_neighbors: PositiveInt = Field(90, description="neighbourhood of iLISI and kBET, in spots")
    max_spots: PositiveInt = Field(
        20_000,
        description="of larger scopes a seeded subsample is measured: silhouette among its own spots, iLISI and kBET "
        "among all (of 2e9 / spots of the scope if that is fewer, but not below 2,000)",
    )
    bio_weight: Unit = Field(0.6, description="weight of biological conservation in the composite score")

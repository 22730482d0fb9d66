"""Every setting of a study, and what they must agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.errors import SettingsError
from stalign_core.naming import NAME_RULE, is_safe_name
from stalign_core.settings.automation import AutomationSettings
from stalign_core.settings.benchmark import BenchmarkSettings
from stalign_core.settings.correction import CorrectionSettings
from stalign_core.settings.downstream import DownstreamSettings
from stalign_core.settings.execution import ExecutionSettings, IncrementalSettings
from stalign_core.settings.faults import aestetik_from_table
from stalign_core.settings.features import (
    EncoderSettings,
    ExpressionSettings,
    InputSettings,
    MorphologySettings,
    RepresentationSettings,
)
from stalign_core.settings.remote_store import RemoteStoreSettings
from stalign_core.settings.results import DomainSettings, MetricSettings
from stalign_core.settings.section import Section
from stalign_core.settings.variants import VariantSettings, default_variants, variant_group

STUDY_VERSION = 1
"""Version of the layout of a study folder; a newer one is refused."""

FEATURE_NAMES = (
    "features",
    "gene_panel",
    "expression_basis",
    "expression_pca",
    "correction_basis",
    "correction_pca",
    "representation_basis",
    "representation_pca",
    "morphology_basis",
    "morphology_pca",
    "morphology_harmony",
    "basis_drift",
)
"""What stands beside the variants within a scope, so that no variant may be called so."""

Scope = Literal["donor", "cohort"]


class Settings(Section):
    """Every setting of a study.

    Raises
    ------
    pydantic.ValidationError
        For an unknown key, a wrong type or an impossible value; `read_settings` turns it into a `SettingsError`.
    """

    study_version: PositiveInt = Field(STUDY_VERSION, description="layout of the study folder")
    seed: int = Field(0, ge=0, description="every random choice follows from it")
    store: str = Field(
        "store", min_length=1, description="folder of the artifacts, relative to the study, or an fsspec URL"
    )
    remote_store: RemoteStoreSettings = RemoteStoreSettings()
    input: InputSettings = InputSettings()
    expression: ExpressionSettings = ExpressionSettings()
    morphology: MorphologySettings = MorphologySettings()
    encoders: dict[str, EncoderSettings] = Field(default_factory=lambda: {"texture": EncoderSettings()})
    representations: dict[str, RepresentationSettings] = Field(default_factory=dict)
    correction: CorrectionSettings = CorrectionSettings()
    aestetik: AestetikSettings = AestetikSettings()
    domains: DomainSettings = DomainSettings()
    metrics: MetricSettings = MetricSettings()
    downstream: DownstreamSettings = DownstreamSettings()
    variants: dict[str, VariantSettings] = Field(default_factory=default_variants)
    incremental: IncrementalSettings = IncrementalSettings()
    execution: ExecutionSettings = ExecutionSettings()
    automation: AutomationSettings = AutomationSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()

    @field_validator("aestetik", mode="before")
    @classmethod
    def _read_aestetik(cls, value: Any) -> Any:
        return value if isinstance(value, AestetikSettings) else aestetik_from_table("aestetik", value)

    @model_validator(mode="after")
    def _names_are_known(self) -> Settings:
        for kind, names in (
            ("variants", self.variants),
            ("encoders", self.encoders),
            ("representations", self.representations),
        ):
            for name in names:
                if not is_safe_name(name):
                    raise SettingsError(f"{kind}.{name}", "is not a safe name", expected=NAME_RULE)
            _check_signs(kind, names)
        if "pca" in self.representations:
            raise SettingsError("representations.pca", "takes a built-in name", remedy="choose another name")
        if not self.variants:
            raise SettingsError(
                "variants", "is empty", expected="one or more", remedy="remove the line to get the default variants"
            )
        _check_variant_names(self.variants)
        _check_encoders(self.encoders)
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        return self

    def _check_variant(self, name: str, variant: VariantSettings) -> None:
        where = f"variants.{name}"
        if variant.encoder not in self.encoders:
            raise SettingsError(
                f"{where}.encoder",
                f"'{variant.encoder}' is not an encoder of this study",
                expected="one of " + ", ".join(self.encoders),
                remedy=f"add a section [encoders.{variant.encoder}]",
            )
        if variant.representation not in ("pca", *self.representations):
            raise SettingsError(
                f"{where}.representation",
                f"'{variant.representation}' is not a representation of this study",
                expected="one of " + ", ".join(["pca", *self.representations]),
                remedy=f"add a section [representations.{variant.representation}]",
            )
        if variant.correction == "scvi" and variant.representation != "pca":
            raise SettingsError(
                f"{where}.correction",
                "scvi learns from counts and cannot correct an external embedding",
                expected="uncorrected, harmony or scanorama",
            )
        self.aestetik_of(name)

    def aestetik_of(self, variant: str) -> AestetikSettings:
        """The model's settings for `variant`: the study's, with the variant's own changes.

        A variant that names a preset starts from that preset's values instead of the study's.
        """
        changes = self.variants[variant].aestetik
        start = {} if "preset" in changes else asdict(self.aestetik)
        return aestetik_from_table(f"variants.{variant}.aestetik", {**start, **changes})

    def n_domains_of(self, partition: str) -> int | Literal["annotation"]:
        """K for a donor, or for ``"cohort"``: a number, or ``"annotation"`` where the labels decide."""
        n_domains = self.domains.n_domains
        if isinstance(n_domains, dict):
            return n_domains.get(partition, "annotation")
        return n_domains


def _check_variant_names(names: Iterable[str]) -> None:
    """A variant's results stand beside its scope's features."""
    for name in names:
        if name in FEATURE_NAMES:
            raise SettingsError(f"variants.{name}", "takes a built-in name", remedy="choose another name")


def _check_encoders(encoders: Mapping[str, EncoderSettings]) -> None:
    """The registry is loaded only for other models than the default one."""
    for name, encoder in encoders.items():
        if encoder.weights and encoder.revision:
            raise SettingsError(
                f"encoders.{name}.revision",
                "is set beside weights, which come from no hub",
                remedy="remove one of the two",
            )
    others = {name: encoder.model for name, encoder in encoders.items() if encoder.model != EncoderSettings().model}
    if others:
        from stalign_core.morphology.encoders.records import check_model_name

        for name, model in others.items():
            check_model_name(model, f"encoders.{name}.model")


def _check_signs(kind: str, names: Iterable[str]) -> None:
    """Dagster's names of groups and steps drop the signs of a name, so two names must not differ by them alone."""
    groups: dict[str, str] = {}
    for name in names:
        group = variant_group(name)
        if group in groups:
            raise SettingsError(
                f"{kind}.{name}",
                f"differs from '{groups[group]}' by a sign alone",
                expected="names that stay apart when '-' and '.' are read as '_'",
            )
        groups[group] = name

"""Settings of the paper's study: which part of its grids, models and seeds is run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from stalign_core.errors import SettingsError
from stalign_core.settings.correction import CorrectionMethod
from stalign_core.settings.section import Section, Unit

BenchmarkTask = Literal["single_donor", "multi_donor"]
BenchmarkModel = Literal["alone", "neighbors", "aestetik", "reference"]


class BenchmarkSettings(Section):
    """Nested cross-validation by donor, as `stalign benchmark` runs it."""

    tasks: tuple[BenchmarkTask, ...] = Field(
        ("single_donor", "multi_donor"),
        strict=False,
        description="single_donor: each test donor alone; multi_donor: test donors jointly",
    )
    folds: int = Field(2, ge=2, description="parts that the donors of the task multi_donor are dealt into")
    tune: bool = Field(True, description="search the grids on tuning donors; false: settings of this file throughout")
    methods: tuple[CorrectionMethod, ...] = Field(
        ("uncorrected", "harmony", "scanorama", "scvi"), strict=False, min_length=1, description="what corrects"
    )
    models: tuple[BenchmarkModel, ...] = Field(
        ("alone", "neighbors", "aestetik", "reference"),
        strict=False,
        min_length=1,
        description="what follows correction: nothing, the mean over neighbours, AESTETIK, its published preset "
        "(untuned, with one method)",
    )
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), strict=False, min_length=1, description="of every test")
    correction_seeds: dict[str, list[int]] = Field(
        default_factory=dict, description="seeds of a costly method, such as scvi = [0]; other seeds take its first"
    )
    model_seeds: dict[str, list[int]] = Field(
        default_factory=lambda: {"reference": [0]}, description="seeds of a costly model, instead of all"
    )
    grids: dict[str, dict[str, list[Any]]] = Field(
        default_factory=dict,
        description="values to try in place of the paper's Table 1, per model: harmony = { theta = [1.0, 2.0] }",
    )
    bio_weight: Unit = Field(0.6, description="weight of biological conservation in the score that tuning maximises")
    windows: tuple[PositiveInt, ...] = Field((1, 3, 5, 7), strict=False, description="ablated, everything else default")
    morphology_weights: tuple[float, ...] = Field(
        (0.0, 1.0, 1.5, 2.0, 3.0), strict=False, description="ablated, everything else default"
    )
    ablation_seeds: tuple[int, ...] = Field((0,), strict=False, min_length=1, description="of the ablations")
    scib_spots: int = Field(
        3000, ge=0, description="annotated spots on which scib-metrics' own total is taken, first seed; 0: not at all"
    )
    network: str = Field(
        "", description="local table source,target,weight for pathway activity by domain; empty: that of [downstream]"
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> BenchmarkSettings:
        from stalign_core.correction.registry import METHODS

        for name in self.correction_seeds:
            _check_name("correction_seeds", name, tuple(METHODS))
        for name in self.model_seeds:
            _check_name("model_seeds", name, ("alone", "neighbors", "aestetik", "reference"))
        for where in ("correction_seeds", "model_seeds"):
            for name, seeds in getattr(self, where).items():
                if not seeds:
                    raise SettingsError(f"benchmark.{where}.{name}", "is empty", expected="one seed at least")
        if self.grids:
            from stalign_core.benchmark.grid import check_grids

            check_grids(self.grids)
        return self


def _check_name(where: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise SettingsError(f"benchmark.{where}.{name}", "is not known", expected="one of " + ", ".join(known))

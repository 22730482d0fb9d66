"""What is compared: a correction method, alone or followed by a model, and the hyperparameters that each may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.benchmark.grid import TABLE_1, combinations
from stalign_core.correction.registry import METHODS
from stalign_core.settings import BenchmarkModel, BenchmarkSettings, CorrectionMethod, Settings
from stalign_core.settings.faults import aestetik_from_table

Parameters = Mapping[str, Any]

PCA: Final = "pca"
REFERENCE_METHODS: Final[tuple[CorrectionMethod, ...]] = ("harmony", "scanorama", "uncorrected", "scvi")
"""The published preset follows the first of these that is benchmarked, else the first method."""

REFERENCE_REFINES: Final = True
"""Whether the published preset takes the majority vote over neighbours: the published program does by default."""

STANDARDISED: Final = "sample_standardised"
"""In a method's place: genes standardised within each sample, which the means of the field's baseline are taken of."""

_MODEL_PARAMETERS: Final = ("morphology_weight", "window")
_METHOD_OF: Final = {name: method for method in ("scvi", "harmony", "scanorama") for name in TABLE_1[method]}


@dataclass(frozen=True)
class Arm:
    """One way from counts and images to domains, up to hyperparameters.

    Attributes
    ----------
    method
        What corrects expression, or `STANDARDISED`; morphology is corrected by Harmony unless it is ``"uncorrected"``.
    model
        What follows: ``"alone"`` nothing, ``"neighbors"`` the mean over a spot and its nearest, ``"aestetik"``,
        ``"reference"`` the published preset of it.
    representation
        ``"pca"``, or an external embedding by name.
    encoder
        Of morphology; empty where a model uses none.
    """

    method: CorrectionMethod
    model: BenchmarkModel
    representation: str = PCA
    encoder: str = ""

    @property
    def name(self) -> str:
        """For tables: ``harmony+aestetik``."""
        return self.method if self.model == "alone" else f"{self.method}+{self.model}"

    @property
    def sees_morphology(self) -> bool:
        """Whether the model takes morphology."""
        return self.model in ("aestetik", "reference")


@dataclass(frozen=True)
class Trial:
    """An arm with every hyperparameter but refinement, which needs no training of its own, and its seeds."""

    arm: Arm
    parameters: Parameters
    seed: int
    correction_seed: int
    scib_spots: int = 0

    def settings(self, base: Settings) -> Settings:
        """The study's settings with the trial's hyperparameters and seed in their places."""
        correction = base.correction
        for name, value in self.parameters.items():
            if name in _METHOD_OF:
                section = getattr(correction, _METHOD_OF[name]).model_copy(update={name: value})
                correction = correction.model_copy(update={_METHOD_OF[name]: section})
        return base.model_copy(
            update={"correction": correction, "aestetik": self._model_settings(base.aestetik), "seed": self.seed}
        )

    def _model_settings(self, base: AestetikSettings) -> AestetikSettings:
        chosen = {name: self.parameters[name] for name in _MODEL_PARAMETERS if name in self.parameters}
        if self.arm.model == "reference":
            return aestetik_from_table("benchmark", {"preset": "reference", "device": base.device, **chosen})
        return replace(base, **chosen)


def arms_of(settings: Settings, encoders: Sequence[str], representations: Sequence[str]) -> list[Arm]:
    """Every arm of a benchmark, in the order of its tables.

    Parameters
    ----------
    settings
        Of the study.
    encoders, representations
        Those that are there to be compared; all methods are run on the first encoder and the PCA, Harmony and the
        uncorrected also on external embeddings, and every other encoder with AESTETIK. Where means over neighbours
        are compared, the field's baseline is: the mean of components of genes standardised within samples.
    """
    chosen = settings.benchmark
    with_reference = next((method for method in REFERENCE_METHODS if method in chosen.methods), chosen.methods[0])
    arms = []
    for method in chosen.methods:
        for model in chosen.models:
            if model != "reference" or method == with_reference:
                arms += list(_with_encoders(Arm(method, model), encoders))
    if "neighbors" in chosen.models:
        arms.append(Arm(STANDARDISED, "neighbors"))
    for representation in representations:
        for method in chosen.methods:
            if method in ("uncorrected", "harmony"):
                arms += [
                    Arm(method, model, representation, encoders[0] if model == "aestetik" else "")
                    for model in chosen.models
                    if model in ("alone", "aestetik")
                ]
    return arms


def _with_encoders(arm: Arm, encoders: Sequence[str]) -> Iterator[Arm]:
    if not arm.sees_morphology:
        yield arm
        return
    for encoder in encoders if arm.model == "aestetik" else encoders[:1]:
        yield replace(arm, encoder=encoder)


def default_parameters(arm: Arm, settings: Settings) -> dict[str, Any]:
    """The arm's hyperparameters as the study has them, or as published for the reference preset."""
    correction: dict[str, Any] = {
        name: getattr(getattr(settings.correction, method), name)
        for name, method in _METHOD_OF.items()
        if method == arm.method
    }
    if not arm.sees_morphology:
        return correction
    model = asdict(settings.aestetik if arm.model == "aestetik" else AestetikSettings.reference())
    return {**correction, **{name: model[name] for name in _MODEL_PARAMETERS}}


def default_refinement(arm: Arm, settings: Settings) -> bool:
    """Whether the arm's domains are refined where nothing is tuned; correction alone never is."""
    if arm.model == "reference":
        return REFERENCE_REFINES
    return arm.model != "alone" and settings.domains.refine


def candidates(arm: Arm, settings: Settings) -> list[dict[str, Any]]:
    """Every choice of the arm's hyperparameters that needs a computation of its own: Table 1, or the study's grids."""
    method = grid_of(arm.method, settings.benchmark)
    if arm.model == "reference":
        return [default_parameters(arm, settings)]
    if arm.model != "aestetik":
        return combinations(method)
    model = {name: values for name, values in grid_of("aestetik", settings.benchmark).items() if name != "refine"}
    return combinations(method, model)


def refinements(arm: Arm, settings: Settings) -> tuple[bool, ...]:
    """Whether to refine: both are tried where the grid says so, and nothing of the published preset."""
    if arm.model in ("alone", "reference"):
        return (default_refinement(arm, settings),)
    return tuple(grid_of("aestetik", settings.benchmark)["refine"])


def grid_of(model: str, settings: BenchmarkSettings) -> dict[str, Sequence[Any]]:
    """Table 1's values of a model, those that the settings name replaced."""
    return {**TABLE_1.get(model, {}), **settings.grids.get(model, {})}


def trial_of(arm: Arm, parameters: Parameters, seed: int, settings: BenchmarkSettings, scib_spots: int = 0) -> Trial:
    """A trial; a method with seeds of its own is corrected with the first of them for every other seed."""
    allowed = settings.correction_seeds.get(arm.method)
    correction_seed = seed if allowed is None or seed in allowed else allowed[0]
    if arm.method == STANDARDISED or not METHODS[arm.method].seeded:
        correction_seed = 0
    return Trial(arm, dict(parameters), seed, correction_seed, scib_spots)


def seeds_of(arm: Arm, settings: BenchmarkSettings) -> tuple[int, ...]:
    """Seeds that the arm is tested with."""
    return tuple(settings.model_seeds.get(arm.model, settings.seeds))


def ablations(settings: Settings, encoder: str) -> list[tuple[Arm, dict[str, Any]]]:
    """Windows, then morphology weights, each varied alone for every method with AESTETIK (the paper's Figure 5)."""
    chosen = settings.benchmark
    if "aestetik" not in chosen.models:
        return []
    varied: list[tuple[Arm, dict[str, Any]]] = []
    for method in chosen.methods:
        arm = Arm(method, "aestetik", PCA, encoder)
        default = default_parameters(arm, settings)
        points: list[dict[str, Any]] = [{"window": window} for window in chosen.windows]
        points += [{"morphology_weight": weight} for weight in chosen.morphology_weights]
        for point in points:
            if {**default, **point} not in [parameters for kept, parameters in varied if kept == arm]:
                varied.append((arm, {**default, **point}))
    return varied

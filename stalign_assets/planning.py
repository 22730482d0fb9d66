"""What a run would compute, told without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from stalign_assets.differences import differences
from stalign_assets.recipes.drift import BASIS_DRIFT
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.recipes.samples import RAW
from stalign_assets.study import Study
from stalign_assets.wanted import MissingInputError, Wanted, wanted
from stalign_core.errors import ArtifactError, StalignError
from stalign_core.progress import Progress, silent
from stalign_core.store import Artifact
from stalign_core.store.fingerprints import UnknownFileError
from stalign_core.store.refusals import Refusal, refusal_of
from stalign_core.store.store import UNPARTITIONED

State = Literal["up to date", "changed", "missing", "damaged", "refused", "waiting", "fault"]


_FOR: Final = "for "
"""How the reason of an asset begins that waits for another of the same plan."""


@dataclass(frozen=True)
class PlannedStep:
    """One asset and partition, and why it would or would not be computed."""

    asset: str
    partition: str
    state: State
    reason: str = ""

    @property
    def has_work(self) -> bool:
        """Whether a run would do more than look."""
        return self.state != "up to date"

    @property
    def waits_for_another(self) -> bool:
        """Whether the only thing known is that something it is made from has work."""
        return self.state == "waiting" and self.reason.startswith(_FOR)


def plan(study: Study, recipes: Mapping[str, Recipe], assets: Iterable[str], partition: str) -> list[PlannedStep]:
    """Plan `assets`, in dependency order, for one donor or for the cohort (`UNPARTITIONED`).

    Artifacts are verified that have changed since they last were; any file is once more when it is read.
    An asset whose inputs have work is `waiting`: whether it must be computed shows only once they are there.
    """
    return _plan(study, recipes, assets, partition, _verified_state_of)


def plan_by_keys(
    study: Study, recipes: Mapping[str, Recipe], assets: Iterable[str], partition: str
) -> list[PlannedStep]:
    """The same, told by input keys alone: quick enough to be asked every minute, and blind to damaged files."""
    return _plan(study, recipes, assets, partition, _state_of)


def is_stale(steps: Iterable[PlannedStep], fails_checks: bool) -> bool:
    """Whether the planned assets of a donor's samples have work that a run can do.

    What was refused stays so until something of it changes; of samples that fail their checks only the reading counts.
    """
    busy = {step.asset: step.state for step in steps if step.has_work}
    if "refused" in busy.values():
        return False
    return RAW in busy if fails_checks else bool(busy)


def _plan(
    study: Study,
    recipes: Mapping[str, Recipe],
    assets: Iterable[str],
    partition: str,
    state_of: Callable[[Study, Mapping[str, Recipe], Recipe, str], PlannedStep],
) -> list[PlannedStep]:
    steps: dict[str, PlannedStep] = {}
    with study.store.remembering():
        for asset in assets:
            recipe = recipes[asset]
            upstream = [steps[declared.asset] for declared in recipe.inputs if declared.asset in steps]
            busy = [step.asset for step in upstream if step.has_work]
            if busy:
                steps[asset] = PlannedStep(asset, partition, "waiting", _FOR + busy[0])
            else:
                steps[asset] = state_of(study, recipes, recipe, partition)
    return list(steps.values())


def assets_of_scope(recipes: Mapping[str, Recipe], scope: str, variants: Iterable[str]) -> list[str]:
    """Assets of ``"samples"``, ``"donor"`` or ``"cohort"``, in dependency order, of these variants alone."""
    wanted_variants = set(variants)
    if scope == "samples":
        return _samples_of_variants(recipes, wanted_variants)
    selected = [
        asset
        for asset, recipe in recipes.items()
        if recipe.path[0] == scope and (recipe.variant is None or recipe.variant in wanted_variants)
    ]
    return _without_idle_features(recipes, selected)


def _samples_of_variants(recipes: Mapping[str, Recipe], variants: set[str]) -> list[str]:
    """Encoders and external embeddings only where one of the variants uses them; all else holds for every variant."""
    needed = with_upstream(recipes, [asset for asset, recipe in recipes.items() if recipe.variant in variants])
    return [
        asset
        for asset, recipe in recipes.items()
        if recipe.is_of_samples and (asset in needed or len(recipe.path) == 1)
    ]


def _without_idle_features(recipes: Mapping[str, Recipe], selected: list[str]) -> list[str]:
    """Drop the features that none of the selected variants uses; the drift of frozen bases concerns every variant's."""
    kept = [asset for asset in selected if recipes[asset].variant is not None or asset == BASIS_DRIFT]
    needed = with_upstream(recipes, kept)
    return [asset for asset in selected if asset in needed]


def with_upstream(recipes: Mapping[str, Recipe], assets: Iterable[str]) -> set[str]:
    """These assets and all that they are made from."""
    needed = set(assets)
    for asset in reversed(list(recipes)):
        if asset in needed:
            needed.update(declared.asset for declared in recipes[asset].inputs)
    return needed


class Freshness:
    """Whether artifacts in force are what a run would make now, told by input keys alone; no file is verified."""

    def __init__(self, study: Study, recipes: Mapping[str, Recipe]) -> None:
        self._study = study
        self._recipes = recipes
        self._known: dict[tuple[str, str], bool] = {}

    def holds(self, asset: str, partition: str) -> bool:
        """Whether an asset's artifact and everything it was made from are up to date."""
        place = (asset, partition)
        if place not in self._known:
            with self._study.store.remembering():
                self._known[place] = self._look(asset, partition)
        return self._known[place]

    def _look(self, asset: str, partition: str) -> bool:
        try:
            want = wanted(self._study, self._recipes, self._recipes[asset], partition)
            current = self._study.store.current(asset, partition)
        except StalignError:
            return False
        if current is None or current.manifest.input_key != want.input_key:
            return False
        if self._recipes[asset].is_of_samples and refusal_of(self._study.store, asset, partition) is not None:
            return False
        return all(self.holds(upstream, of) for upstream, artifacts in want.inputs.items() for of in artifacts)


def _verified_state_of(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str) -> PlannedStep:
    step = _state_of(study, recipes, recipe, partition)
    if step.has_work:
        return step
    try:
        current = study.store.current(recipe.asset, partition)
        if current is not None:
            verify = study.held.verify if study.store.is_local else Artifact.verify
            verify(current)
    except ArtifactError as error:
        return PlannedStep(recipe.asset, partition, "damaged", error.line)
    return step


def _state_of(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str) -> PlannedStep:
    refusal = refusal_of(study.store, recipe.asset, partition) if recipe.is_of_samples else None
    try:
        want = wanted(study, recipes, recipe, partition)
        current = study.store.current(recipe.asset, partition)
    except ArtifactError as error:
        return PlannedStep(recipe.asset, partition, "damaged", error.line)
    except MissingInputError as error:
        return PlannedStep(recipe.asset, partition, "waiting", error.line)
    except StalignError as error:
        if refusal is not None and not refusal.input_key:
            return PlannedStep(recipe.asset, partition, "refused", refusal.line)
        state: State = "changed" if isinstance(error, UnknownFileError) else "fault"
        return PlannedStep(recipe.asset, partition, state, error.line)
    return PlannedStep(recipe.asset, partition, *_compared(want, recipe.code_version, current, refusal))


def _compared(want: Wanted, code_version: int, current: Artifact | None, refusal: Refusal | None) -> tuple[State, str]:
    """How what there is stands to what is wanted: state and reason."""
    if refusal is not None and refusal.input_key == want.input_key:
        return "refused", refusal.line
    if current is None:
        return "missing", ""
    # A refusal of other inputs stands until a run has found those of now to be well.
    if refusal is not None or current.manifest.input_key != want.input_key:
        return "changed", "; ".join(differences(want, code_version, current.manifest)) or "it is to be looked at again"
    return "up to date", ""


def plan_study(
    study: Study, recipes: Mapping[str, Recipe], progress: Progress = silent
) -> dict[str, list[PlannedStep]]:
    """Plans of each donor, under ``donor <name>``, and of the cohort, under ``cohort``."""
    variants = tuple(study.settings.variants)
    own = assets_of_scope(recipes, "samples", variants) + assets_of_scope(recipes, "donor", variants)
    donors = study.cohort.donors
    plans = {}
    for done, donor in enumerate(donors):
        progress(f"looking at donor {donor}", done, len(donors) + 1)
        plans[f"donor {donor}"] = plan(study, recipes, own, donor)
    progress("looking at the cohort", len(donors), len(donors) + 1)
    plans["cohort"] = plan(study, recipes, assets_of_scope(recipes, "cohort", variants), UNPARTITIONED)
    study.held.save()
    return plans

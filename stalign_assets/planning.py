"""What a run would compute, told without computing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from stalign_assets.recipes.recipe import Recipe
from stalign_assets.study import Study
from stalign_assets.wanted import MissingInputError, wanted
from stalign_core.errors import ArtifactError, StalignError
from stalign_core.store.store import UNPARTITIONED

State = Literal["up to date", "changed", "missing", "damaged", "waiting", "fault"]


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


def plan(study: Study, recipes: Mapping[str, Recipe], assets: Iterable[str], partition: str) -> list[PlannedStep]:
    """Plan `assets`, in dependency order, for one donor or for the cohort (`UNPARTITIONED`).

    An asset whose inputs have work is `waiting`: whether it must be computed shows only once they are there.
    """
    steps: dict[str, PlannedStep] = {}
    for asset in assets:
        recipe = recipes[asset]
        upstream = [steps[declared.asset] for declared in recipe.inputs if declared.asset in steps]
        busy = [step.asset for step in upstream if step.has_work]
        if busy:
            steps[asset] = PlannedStep(asset, partition, "waiting", f"for {busy[0]}")
        else:
            steps[asset] = _state_of(study, recipes, recipe, partition)
    return list(steps.values())


def assets_of_scope(recipes: Mapping[str, Recipe], scope: str, variants: Iterable[str]) -> list[str]:
    """Assets of ``"samples"``, ``"donor"`` or ``"cohort"``, in dependency order, of these variants alone."""
    wanted_variants = set(variants)
    if scope == "samples":
        return [asset for asset, recipe in recipes.items() if recipe.group == "samples"]
    selected = [
        asset
        for asset, recipe in recipes.items()
        if recipe.path[0] == scope and (recipe.variant is None or recipe.variant in wanted_variants)
    ]
    return _without_idle_features(recipes, selected)


def _without_idle_features(recipes: Mapping[str, Recipe], selected: list[str]) -> list[str]:
    """Drop the features that none of the selected variants uses."""
    needed = {asset for asset in selected if recipes[asset].variant is not None}
    for asset in reversed(selected):
        if asset in needed:
            needed.update(declared.asset for declared in recipes[asset].inputs)
    return [asset for asset in selected if asset in needed]


def _state_of(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str) -> PlannedStep:
    try:
        want = wanted(study, recipes, recipe, partition)
        current = study.store.current(recipe.asset, partition)
        if current is None:
            return PlannedStep(recipe.asset, partition, "missing")
        if current.manifest.input_key != want.input_key:
            return PlannedStep(recipe.asset, partition, "changed", "inputs, settings or code changed")
        current.verify()
    except ArtifactError as error:
        return PlannedStep(recipe.asset, partition, "damaged", error.line)
    except MissingInputError as error:
        return PlannedStep(recipe.asset, partition, "waiting", error.line)
    except StalignError as error:
        return PlannedStep(recipe.asset, partition, "fault", error.line)
    return PlannedStep(recipe.asset, partition, "up to date")


def plan_study(study: Study, recipes: Mapping[str, Recipe]) -> dict[str, list[PlannedStep]]:
    """Plans of each donor, under ``donor <name>``, and of the cohort, under ``cohort``."""
    variants = tuple(study.settings.variants)
    own = assets_of_scope(recipes, "samples", variants) + assets_of_scope(recipes, "donor", variants)
    plans = {f"donor {donor}": plan(study, recipes, own, donor) for donor in study.cohort.donors}
    plans["cohort"] = plan(study, recipes, assets_of_scope(recipes, "cohort", variants), UNPARTITIONED)
    return plans

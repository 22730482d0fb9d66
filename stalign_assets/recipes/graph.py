"""All recipes of a study, in dependency order."""

from __future__ import annotations

from itertools import chain
from typing import get_args

from stalign_assets.recipes.benchmark.recipes import benchmark_recipes
from stalign_assets.recipes.features import feature_recipes
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.recipes.samples import sample_recipes
from stalign_assets.recipes.variants import variant_recipes
from stalign_core.settings import Scope, Settings

SCOPES: tuple[Scope, ...] = get_args(Scope)


def recipes_of(settings: Settings) -> dict[str, Recipe]:
    """Recipes by asset; each stands after the assets it reads."""
    chains = [sample_recipes(settings)]
    for scope in SCOPES:
        chains.append(feature_recipes(settings, scope))
        chains += [variant_recipes(settings, scope, variant) for variant in settings.variants]
    chains.append(benchmark_recipes(settings))
    return {recipe.asset: recipe for recipe in chain.from_iterable(chains)}

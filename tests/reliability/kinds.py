"""Every kind of asset that a study can hold, and the two studies that hold one of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stalign_assets.planning import assets_of_scope, with_upstream
from stalign_assets.recipes.benchmark.trials import CORRECTIONS, TRIALS
from stalign_assets.recipes.graph import recipes_of
from stalign_core.correction.registry import METHODS
from stalign_core.settings import Settings, parse_settings
from tests.studies import TINY_SETTINGS

SETTINGS: Final[dict[str, Any]] = {**TINY_SETTINGS, "variants": {"harmony": {"correction": "harmony"}}}
RARER_SETTINGS: Final[dict[str, Any]] = {
    **SETTINGS,
    "expression": {**TINY_SETTINGS["expression"], "scaling": "sample"},
    "correction": {"scvi": {"max_epochs": 1}},
    "incremental": {"freeze_bases": True},
    "downstream": {"network": "network.csv", "min_targets": 3},
    "representations": {"outside": {"obsm": "X_outside", "file": "outside/{sample}.h5ad"}},
    "variants": {
        **SETTINGS["variants"],
        **{method: {"correction": method} for method in METHODS},
        "outside": {"correction": "harmony", "representation": "outside"},
    },
    "benchmark": {
        "tasks": ["multi_donor"],
        "tune": False,
        "methods": ["harmony"],
        "models": ["alone"],
        "seeds": [0],
        "windows": [],
        "morphology_weights": [],
        "scib_spots": 0,
    },
}
"""Of a study that also has what settings or other commands ask for: every method and scope, frozen bases, an embedding
from outside, pathways, and the benchmark."""

TABLES: Final = "metrics_tables"
OF_SEARCHES: Final = (CORRECTIONS, TRIALS)
"""What a search of the benchmark keeps besides its own artifact: nothing points to it."""


def kind_of(settings: Settings, asset: str) -> str:
    """What assets have in common that one function makes: variants differ in the method of correction alone."""
    variant = recipes_of(settings)[asset].variant
    if variant is None:
        return asset
    scope, *_, step = asset.split("/")
    return f"{scope}/{step}" + (f" by {settings.variants[variant].correction}" if step == "corrected_features" else "")


def kinds_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The first asset of each kind that recipes of these settings make."""
    parsed = parse_settings(dict(settings))
    first: dict[str, str] = {}
    for asset in recipes_of(parsed):
        first.setdefault(kind_of(parsed, asset), asset)
    return first


def _of_the_first_study() -> Iterator[str]:
    recipes = recipes_of(parse_settings(dict(SETTINGS)))
    for scope in ("samples", "cohort"):
        yield from assets_of_scope(recipes, scope, SETTINGS["variants"])


KINDS: Final = tuple(_of_the_first_study())
"""Every asset that the study of one variant and the cohort makes."""
RARER_KINDS: Final = tuple(
    asset
    for kind, asset in kinds_of(RARER_SETTINGS).items()
    if kind not in {kind_of(parse_settings(dict(SETTINGS)), known) for known in KINDS}
)
"""One asset of each other kind, of the other study."""


def rarer_assets() -> list[str]:
    """These and all that they are made from, each after what it reads."""
    recipes = recipes_of(parse_settings(dict(RARER_SETTINGS)))
    needed = with_upstream(recipes, RARER_KINDS)
    return [asset for asset in recipes if asset in needed]

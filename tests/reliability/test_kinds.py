"""The table of faults leaves out no kind of asset and no point; what a new recipe makes cannot be forgotten."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stalign_assets
from stalign_assets.platform.build import build_definitions
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import Recipe
from stalign_core.settings import parse_settings
from tests.reliability.cases import ALL_CASES
from tests.reliability.kill_points import EVENT_POINTS, FILE_POINTS, SEARCH_POINTS, STORE_POINTS, TABLES_POINTS
from tests.reliability.kinds import OF_SEARCHES, RARER_SETTINGS, TABLES, kind_of

PACKAGE = Path(stalign_assets.__file__).parent
SETTINGS = parse_settings(dict(RARER_SETTINGS))
KILLED = [case for case in ALL_CASES if case.fault.startswith("killed")]


def points_of(asset: str) -> set[str]:
    if asset == TABLES:
        return set(TABLES_POINTS)
    if asset in FILE_POINTS:
        return set(FILE_POINTS[asset])
    return set(SEARCH_POINTS) if asset in OF_SEARCHES else {*STORE_POINTS, *EVENT_POINTS}


def kind(asset: str) -> str:
    return asset if asset in {TABLES, *FILE_POINTS, *OF_SEARCHES} else kind_of(SETTINGS, asset)


def test_every_asset_is_killed_at_every_point() -> None:
    """Of the definitions, and what searches keep; variants differ in the method of correction alone."""
    found: dict[str, set[str]] = {}
    for case in KILLED:
        if case.asset:
            found.setdefault(kind(case.asset), set()).add(case.point)
    assets = build_definitions(settings=SETTINGS).resolve_asset_graph().get_all_asset_keys()
    every = {*OF_SEARCHES, *(kind("/".join(key.path)) for key in assets)}
    assert found == {each: points_of(each) for each in every}


def test_by_default_every_kind_is_killed_somewhere_and_every_point_has_its_turn() -> None:
    default = [case for case in KILLED if not case.full]
    assert {kind(case.asset) for case in default if case.asset} == {kind(case.asset) for case in KILLED if case.asset}
    n_turns = {point: sum(case.point == point for case in default) for point in (*STORE_POINTS, *EVENT_POINTS)}
    assert min(n_turns.values()) >= 4, n_turns


def test_these_settings_make_use_of_every_recipe_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[Path, int]] = set()
    original = Recipe.__init__

    def noting(self: Recipe, *arguments: Any, **words: Any) -> None:
        caller = sys._getframe(1)
        used.add((Path(caller.f_code.co_filename), caller.f_lineno))
        original(self, *arguments, **words)

    monkeypatch.setattr(Recipe, "__init__", noting)
    recipes_of(SETTINGS)
    calls = list(calls_of_recipe())
    assert len(calls) > 20
    unused = [(path, lines) for path, lines in calls if not any((path, line) in used for line in lines)]
    assert unused == []


def calls_of_recipe() -> Iterator[tuple[Path, range]]:
    """Where the package declares recipes: file and lines."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Recipe":
                yield path, range(node.lineno, (node.end_lineno or node.lineno) + 1)

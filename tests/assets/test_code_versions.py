"""Code versions, held to the source they cover: results that change without a new version would be taken for reused.

``snapshots/code_versions.json`` keeps, for each kind of asset, its version and the hashes of the source that its
computation rests on. After a change renew it with
``STALIGN_RENEW_SNAPSHOTS=1 .venv/bin/python -m pytest tests/assets/test_code_versions.py`` and read its diff.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.recipes.benchmark.trials import CORRECTION_VERSION, CORRECTIONS, TRIAL_VERSION, TRIALS
from stalign_assets.recipes.graph import SCOPES, recipes_of
from stalign_assets.recipes.recipe import BENCHMARK_GROUP, Recipe
from stalign_assets.results.tables import TABLES_VERSION, rebuild_tables
from stalign_core.benchmark.group import Group
from stalign_core.benchmark.trial import run_trial
from stalign_core.settings import parse_settings
from tests.assets.source_cover import Place, SourceCover

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).parent / "snapshots" / "code_versions.json"
RENEW = "STALIGN_RENEW_SNAPSHOTS"

FOLLOWED = ("stalign_core", "stalign_assets.recipes", "stalign_assets.rows", "stalign_assets.results")
# What is set enters the key by its value, what is read by its content; errors and progress leave no result.
LEFT_OUT = (
    "stalign_assets.recipes.recipe",
    "stalign_core.aestetik.settings",
    "stalign_core.errors",
    "stalign_core.progress",
    "stalign_core.settings",
    "stalign_core.store",
)

EVERY_KIND = {"representations": {"outside": {"obsm": "X"}}, "variants": {"a": {}, "b": {"representation": "outside"}}}

Covered = dict[str, dict[str, Any]]


def covered_now() -> Covered:
    """Version and source hashes of each kind of asset."""
    versions = {
        METRICS_TABLES: (TABLES_VERSION, place_of(rebuild_tables)),
        TRIALS: (TRIAL_VERSION, place_of(run_trial)),
        CORRECTIONS: (CORRECTION_VERSION, place_of(Group.correct)),
    }
    for recipe in recipes_of(parse_settings(EVERY_KIND)).values():
        found = recipe.code_version, place_of(recipe.compute)
        assert versions.setdefault(kind_of(recipe), found) == found, f"{recipe.asset} is not like others of its kind"
    cover = SourceCover(ROOT, FOLLOWED, LEFT_OUT)
    return {
        kind: {"version": version, "modules": cover.hashes(place)}
        for kind, (version, place) in sorted(versions.items())
    }


def kind_of(recipe: Recipe) -> str:
    """What remains of an asset's name without its scope, variant, encoder or representation, which change no code."""
    if recipe.variant is not None:
        return recipe.path[-1]
    if recipe.group == BENCHMARK_GROUP:
        return recipe.asset
    return recipe.path[1] if recipe.path[0] in SCOPES else recipe.path[0]


def place_of(function: Any) -> Place:
    """Where a function, or what a partial one calls, is defined."""
    plain = function.func if isinstance(function, partial) else function
    return plain.__module__, plain.__qualname__


def disagreements(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each kind of asset whose version and source are not those of the snapshot."""
    lines = []
    for kind in sorted({*reviewed, *now}):
        if kind not in reviewed or kind not in now:
            lines.append(f"{kind}: is {'new' if kind in now else 'gone'}; set {RENEW}=1 to renew the snapshot")
            continue
        before, after = reviewed[kind], now[kind]
        modules = sorted({*before["modules"], *after["modules"]})
        changed = [name for name in modules if before["modules"].get(name) != after["modules"].get(name)]
        if after["version"] < before["version"]:
            lines.append(f"{kind}: its code version fell from {before['version']} to {after['version']}; put it back")
        elif after["version"] > before["version"]:
            lines.append(f"{kind}: its code version is {after['version']} now; set {RENEW}=1 to renew the snapshot")
        elif changed:
            lines.append(
                f"{kind}: the source of version {after['version']} changed in {', '.join(changed)}; raise the code "
                f"version, and in any case, also where results are the same, set {RENEW}=1 to renew the snapshot"
            )
    return lines


def test_no_source_has_changed_behind_its_code_version() -> None:
    now = covered_now()
    if os.environ.get(RENEW):
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    lines = disagreements(json.loads(SNAPSHOT.read_text(encoding="utf-8")), now)
    assert not lines, "\n".join(lines)


def test_an_asset_covers_what_it_computes_with_and_nothing_else() -> None:
    now = covered_now()
    assert {"stalign_core.aestetik.training", "stalign_core.aestetik.loss"} <= set(now["aestetik_model"]["modules"])
    assert "stalign_core.metrics.mixing" in now["metrics"]["modules"]
    assert {
        "stalign_core.aestetik.training",
        "stalign_core.metrics.mixing",
        "stalign_core.domains.clustering",
        "stalign_core.correction.harmony",
    } <= set(now[TRIALS]["modules"])
    assert {"stalign_core.correction.scanorama", "stalign_core.expression.basis"} <= set(now[CORRECTIONS]["modules"])
    assert "stalign_core.grid" not in now[CORRECTIONS]["modules"], "of the group, only what is corrected with"
    assert "stalign_core.readers.tenx_matrix" in now["raw_samples"]["modules"]
    assert "stalign_core.morphology.encoders.texture" in now["morphology_embeddings"]["modules"]
    assert set(now["gene_statistics"]["modules"]) == {
        "stalign_assets.recipes.samples",
        "stalign_assets.rows",
        "stalign_core.expression.gene_statistics",
    }


# The guard itself

COMPUTATION = '''
"""Of a module."""
from pack.numbers import double

LIMIT = 3

def compute(task):
    """Of a function."""
    from pack import shapes
    return [double(each) for each in task[:LIMIT]] + [shapes.area(2)]

def other(task):
    return task
'''
FILES = {
    "__init__.py": "",
    "recipe.py": COMPUTATION,
    "numbers/__init__.py": "from pack.numbers.doubling import double\nfrom pack.numbers.halving import half\n",
    "numbers/doubling.py": "def double(x):\n    return _times(x, 2)\n\ndef _times(x, n):\n    return n * x\n",
    "numbers/halving.py": "def half(x):\n    return x / 2\n",
    "shapes.py": "PI = 3\n\ndef area(radius):\n    return PI * radius**2\n\ndef volume(side):\n    return side**3\n",
}


def hashes_of(folder: Path, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """What `compute` rests on in a package of these files."""
    for name, text in {**FILES, **(changes or {})}.items():
        path = folder / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return SourceCover(folder, ["pack"]).hashes(("pack.recipe", "compute"))


def test_the_modules_that_a_computation_names_are_found_and_no_others(tmp_path: Path) -> None:
    assert list(hashes_of(tmp_path)) == ["pack.numbers.doubling", "pack.recipe", "pack.shapes"]


@pytest.mark.parametrize(
    ("file", "old", "new", "module"),
    [
        ("recipe.py", "LIMIT = 3", "LIMIT = 4", "pack.recipe"),
        ("recipe.py", "shapes.area(2)", "shapes.area(3)", "pack.recipe"),
        ("numbers/doubling.py", "n * x", "n + x", "pack.numbers.doubling"),
        ("numbers/doubling.py", "(x, 2)", "(x, 3)", "pack.numbers.doubling"),
        ("shapes.py", "PI = 3\n", "PI = 4\n", "pack.shapes"),
        ("shapes.py", "PI = 3\n", "PI = 3\nprint(PI)\n", "pack.shapes"),
    ],
)
def test_a_change_is_found_in_its_module(tmp_path: Path, file: str, old: str, new: str, module: str) -> None:
    before = hashes_of(tmp_path)
    assert FILES[file].count(old) == 1
    after = hashes_of(tmp_path, {file: FILES[file].replace(old, new)})
    assert [name for name in before if before[name] != after[name]] == [module]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("recipe.py", "Of a function.", "Of a function, said better."),
        ("recipe.py", "LIMIT = 3", "# no more\nLIMIT  =  (3)  # at most"),
        ("recipe.py", '    """Of a function."""\n', ""),
        ("recipe.py", "    return task\n", "    return None\n"),
        ("numbers/halving.py", "x / 2", "x / 3"),
        ("shapes.py", "side**3", "side**4"),
    ],
)
def test_words_and_source_that_is_not_named_do_not_count(tmp_path: Path, file: str, old: str, new: str) -> None:
    before = hashes_of(tmp_path)
    assert FILES[file].count(old) == 1
    assert hashes_of(tmp_path, {file: FILES[file].replace(old, new)}) == before


METHODS_OF_A_CLASS = """
from pack.numbers import double, half

class Group:
    factor = 2

    def __init__(self, numbers):
        self.numbers = numbers

    def correct(self, n):
        return self._times(n) + self.numbers[0]

    def _times(self, n):
        return double(n) * self.factor

    def other(self, n):
        return half(n)
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("+ self.numbers[0]", "- self.numbers[0]", True),
        ("double(n) *", "double(n) +", True),
        ("factor = 2", "factor = 3", True),
        ("self.numbers = numbers", "self.numbers = numbers[1:]", True),
        ("return half(n)", "return half(n) + 1", False),
    ],
)
def test_a_method_rests_on_what_it_takes_of_its_object_and_on_no_other_method(
    tmp_path: Path, old: str, new: str, counts: bool
) -> None:
    def hashes(text: str) -> dict[str, str]:
        hashes_of(tmp_path, {"group.py": text})
        return SourceCover(tmp_path, ["pack"]).hashes(("pack.group", "Group.correct"))

    before = hashes(METHODS_OF_A_CLASS)
    assert list(before) == ["pack.group", "pack.numbers.doubling"]
    assert METHODS_OF_A_CLASS.count(old) == 1
    assert (hashes(METHODS_OF_A_CLASS.replace(old, new)) != before) == counts


def test_a_name_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="pack holds no 'missing'"):
        hashes_of(tmp_path, {"recipe.py": "from pack import missing\n\ndef compute(task):\n    return missing(task)\n"})


def test_changed_source_asks_for_a_version_and_a_new_version_for_a_new_snapshot() -> None:
    def kept(version: int, source: str) -> Covered:
        return {"domains": {"version": version, "modules": {"a": "same", "b": source}}}

    assert disagreements(kept(1, "old"), kept(1, "old")) == []
    (line,) = disagreements(kept(1, "old"), kept(1, "new"))
    assert line.startswith("domains: the source of version 1 changed in b; raise the code version")
    assert f"{RENEW}=1" in line
    (line,) = disagreements(kept(1, "old"), kept(2, "new"))
    assert line == f"domains: its code version is 2 now; set {RENEW}=1 to renew the snapshot"
    (line,) = disagreements(kept(2, "old"), kept(1, "old"))
    assert "fell from 2 to 1" in line
    (line,) = disagreements({}, kept(1, "old"))
    assert line.startswith("domains: is new")

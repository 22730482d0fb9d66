"""Versions that manifests record: of every package that what is computed rests on."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import stalign_core
from stalign_assets.materialise import recorded_packages

NO_RESULT_RESTS_ON = {
    "huggingface_hub": "finds weights, which count by their content",
    "matplotlib": "draws pictures, which no key holds",
    "psutil": "tells which processes live",
    "pyarrow": "keeps tables, which count by their content",
    "pydantic": "checks settings, which count by their value",
    "pydantic_core": "checks settings, which count by their value",
    "safetensors": "keeps arrays, which count by their content",
    "spatialdata": "writes exports, and reads samples that count by their content",
    "threadpoolctl": "limits threads",
    "universal_pathlib": "names places of the store",
}
USED_BY_OTHERS = {"python", "stalign", "dagster", "imagecodecs", "scanpy"}
"""Recorded though `stalign_core` imports none: runtime, platform, tifffile's decoders, and what results are held to."""


def imported_names(source: str) -> Iterator[str]:
    """Top-level names of all absolute imports, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def imported_distributions() -> set[str]:
    """Third-party distributions that the library imports anywhere."""
    files = Path(stalign_core.__file__).parent.rglob("*.py")
    names = {name for file in files for name in imported_names(file.read_text(encoding="utf-8"))}
    names -= {*sys.stdlib_module_names, "stalign_core"}
    found = packages_distributions()
    return {distribution for name in names for distribution in found.get(name, [name])}


def test_every_package_that_the_library_computes_with_is_recorded() -> None:
    imported = imported_distributions()
    assert {"torch", "decoupler", "pillow"} <= imported
    assert imported - set(NO_RESULT_RESTS_ON) - set(recorded_packages()) == set()


def test_what_is_excepted_is_imported_and_what_is_recorded_is_used() -> None:
    imported = imported_distributions()
    assert set(NO_RESULT_RESTS_ON) <= imported
    assert not set(NO_RESULT_RESTS_ON) & set(recorded_packages())
    assert set(recorded_packages()) - imported == USED_BY_OTHERS

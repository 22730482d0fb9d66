"""The arrows between the packages, and what loading them costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "scvi", "scanpy", "timm", "jax", "sklearn", "skimage", "umap", "matplotlib", "anndata")


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "stalign_core").rglob("*.py")), ids=lambda path: path.stem)
def test_the_science_knows_nothing_of_dagster(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported_modules(path)}
    assert not packages & {"dagster", "stalign_assets"}


def test_the_platform_holds_no_mathematics() -> None:
    for path in (ROOT / "stalign_assets").rglob("*.py"):
        packages = {name.split(".")[0] for name in imported_modules(path)}
        assert not packages & {"torch", "sklearn", "scanpy", "scvi", "harmonypy", "scanorama", "skimage"}, path


def test_aestetik_needs_torch_numpy_and_lightning_alone() -> None:
    allowed = {"torch", "numpy", "lightning", "safetensors", "stalign_core", "__future__", *sys.stdlib_module_names}
    for path in (ROOT / "stalign_core" / "aestetik").rglob("*.py"):
        packages = {name.split(".")[0] for name in imported_modules(path)}
        assert packages <= allowed, path


@pytest.mark.parametrize("module", ["stalign_assets.definitions", "stalign_assets.cli.main", "stalign_core"])
def test_loading_brings_in_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def _seconds_of_loading(command: list[str]) -> float:
    """Processor seconds of that process alone, the least of three: other programs only ever add to them."""

    def once() -> float:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    return min(once() for _ in range(3))


def test_help_and_the_code_location_load_quickly_beside_dagster_itself() -> None:
    """Counted in loadings of Dagster (0.6 s on two idle cores), which a slow processor stretches as much as ours."""
    dagster = _seconds_of_loading(["-c", "import dagster"])
    assert _seconds_of_loading(["-m", "stalign_assets.cli.main", "--help"]) < dagster
    assert _seconds_of_loading(["-c", "import stalign_assets.definitions"]) < 4 * dagster

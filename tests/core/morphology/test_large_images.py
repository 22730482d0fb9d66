"""Patches of images that are larger than what may be held: less than 1 GiB, libraries included."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "large_images.py"
GIBIBYTE_IN_MEGABYTES = 1024
PATCH, SPOTS = 224, 2_000
TIFF_SIDE, TILE = 20_000, 512


def measured(*step: object) -> dict[str, float]:
    """What a step of the benchmark, in a process of its own, tells of itself."""
    words = json.dumps([str(word) for word in step])
    done = subprocess.run([sys.executable, BENCHMARK, "--step", words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_pyramidal_tiff_of_400_megapixels(tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    measured("make", slide, TIFF_SIDE, "jpeg")
    found = measured("extract", slide, PATCH, SPOTS)
    assert found["patches"] >= 0.95 * SPOTS
    assert found["peak_mb"] < GIBIBYTE_IN_MEGABYTES
    # Whole, it would take more than that; each tile is decoded once.
    assert 3 * TIFF_SIDE**2 / 2**20 > GIBIBYTE_IN_MEGABYTES
    assert found["tiles"] <= (-(-TIFF_SIDE // TILE)) ** 2


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["C2_he.jpg", "B4_he.jpg"])
def test_a_jpeg_of_90_megapixels(name: str, real_data: Callable[[str], Path]) -> None:
    found = measured("extract", real_data("her2st_abcd") / name, PATCH, SPOTS)
    assert found["patches"] >= 0.95 * SPOTS
    assert found["peak_mb"] < GIBIBYTE_IN_MEGABYTES

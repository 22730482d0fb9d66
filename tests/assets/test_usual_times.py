"""What is said before a correction that counts nothing while it is at work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stalign_assets.recipes.usual_times import tell_usual_time


@pytest.mark.parametrize(
    ("method", "n_spots", "told"),
    [
        ("harmony", 1_000_000, ["harmony of 1,000,000 spots takes about 50 s on two cores"]),
        ("harmony", 14_000, []),
        ("scanorama", 28_000, ["scanorama of 28,000 spots takes about 56 s on two cores"]),
        ("scanorama", 100_000, ["scanorama of 100,000 spots takes about 12 min on two cores"]),
        ("uncorrected", 1_000_000, []),
    ],
)
def test_a_correction_longer_than_a_moment_is_foreseen(method: str, n_spots: int, told: list[str]) -> None:
    said: list[str] = []
    tell_usual_time(SimpleNamespace(say=said.append), method, n_spots)  # type: ignore[arg-type]
    assert said == told

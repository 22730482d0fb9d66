"""Whose times a forecast believes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stalign_assets.foreseeing import measured
from stalign_assets.machine import machine_name
from stalign_assets.recipes.benchmark.trials import CORRECTIONS, MACHINE, TRIALS


def kept(asset: str, seconds: float, **machine: str) -> SimpleNamespace:
    """What a computation on ten spots left."""
    settings = {"arm": {"model": "alone"}, "scib_spots": 0, "method": "harmony"}
    summary = {"n_spots": 10, **machine}
    manifest = SimpleNamespace(
        asset=asset, settings=settings, summary=summary, seconds=seconds, cpu_seconds=2 * seconds
    )
    return SimpleNamespace(manifest=manifest)


def test_times_are_of_this_machine_and_of_no_other_or_unknown_one() -> None:
    here = {MACHINE: machine_name()}
    artifacts = [
        kept(TRIALS, 1.0, **here),
        kept(TRIALS, 2.0, **{MACHINE: "another"}),
        kept(TRIALS, 3.0),
        kept(CORRECTIONS, 4.0, **here),
        kept("raw_samples", 5.0, **here),
    ]
    study: Any = SimpleNamespace(store=SimpleNamespace(artifacts=lambda: artifacts))
    found = measured(study)
    assert found == {"trial/alone": [pytest.approx(0.1)], "correction/harmony": [pytest.approx(0.4)]}

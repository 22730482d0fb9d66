"""What every test of the platform needs."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _streams_stay_open() -> None:
    """absl, which scib-metrics brings in, closes its stream when Dagster configures logging anew, unless it is one of
    the process's own; the stream it found is pytest's, which every later test needs."""
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.stream = sys.__stderr__

"""Fixtures that every test may use."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

_VARIABLE = "STALIGN_TEST_DATA"

# Read when OpenMP is loaded. The suite runs a process per core: threads of several that spin while they wait for each
# other take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests.studies import finished_study, new_study, place, study, tiny_data  # noqa: E402

__all__ = ["finished_study", "new_study", "place", "study", "tiny_data"]


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(connection: object, record: object) -> None:
    """Dagster's histories of tests outlive no power cut; waiting for the disk is half of a small run's time."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


def _test_data() -> Path:
    """The folder of public data sets: the one the environment names, else the checkout's neighbour."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data(name)` gives the folder of a public data set, or skips the test where it is absent."""

    def folder_of(name: str) -> Path:
        folder = _test_data() / name
        if not folder.is_dir():
            pytest.skip(f"data set {name} is absent; {_VARIABLE} names the folder that should hold it")
        return folder

    return folder_of

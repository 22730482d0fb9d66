"""Dagster's own databases of runs and ticks: SQLite recovers from a killed process, but not from altered bytes."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

from stalign_assets.doctor.finding import Finding
from stalign_assets.study import Study

_COMPANIONS = ("", "-wal", "-shm", "-journal")


def broken_databases(study: Study) -> Iterator[Finding]:
    """Databases under the study's Dagster folder that cannot be read."""
    for folder in ("history", "schedules"):
        for path in sorted((study.dagster_home / folder).rglob("*.db")):
            problem = _problem_of(path)
            if problem:
                cure = "moved aside; Dagster begins a new one, and results, which are in the store, stay"
                yield Finding("history", str(path), problem, cure, partial(_set_aside, path))


def _problem_of(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=20)) as connection:
            (answer,) = connection.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return ""  # busy, or not to be opened read-only: nothing is told against its bytes
    except sqlite3.DatabaseError as error:
        return f"cannot be read ({error})"
    return "" if answer == "ok" else f"is damaged ({' '.join(answer.split())})"


def _set_aside(path: Path) -> None:
    mark = f".damaged-{uuid.uuid4().hex[:8]}"
    for ending in _COMPANIONS:
        file = path.with_name(path.name + ending)
        if file.exists():
            file.rename(file.with_name(file.name + mark))

"""Who may be at work in a store: many runs together, or one that collects or repairs alone; and who opens a history."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from stalign_assets.study import Study
from stalign_core.errors import StudyError

_LOCK_FILE: Final = "store.lock"
_HISTORY_LOCK_FILE: Final = "opening.lock"


@contextmanager
def using_store(study: Study, say: Callable[[str], None]) -> Iterator[None]:
    """Keep what the store holds from being collected; waits, and says so, while it is collected or repaired.

    A store where no lock can be had, such as one that cannot be written, can be collected by nobody either.
    """
    try:
        lock = _open(study)
    except OSError:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for 'stalign gc' or 'stalign doctor' to end")
            fcntl.flock(lock, fcntl.LOCK_SH)
        except OSError:
            pass
        yield


@contextmanager
def store_alone(study: Study) -> Iterator[None]:
    """Keep runs from the store.

    Raises
    ------
    StudyError
        If a run is at work in it, or it cannot be locked.
    """
    where = f"store {study.store.base}"
    try:
        lock = _open(study)
    except OSError as error:
        raise StudyError(
            where, f"cannot be locked ({error.strerror})", expected="a folder that can be written"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(where, "is in use by a run", remedy="try again once it has ended") from None
        except OSError as error:
            raise StudyError(
                where, f"cannot be locked ({error.strerror})", expected="a file system that knows locks"
            ) from None
        yield


@contextmanager
def opening_history(study: Study) -> Iterator[None]:
    """Let one process at a time open Dagster's history: of two that find none, only one can make its tables.

    Where no lock can be had, none is taken.
    """
    try:
        study.dagster_home.mkdir(parents=True, exist_ok=True)
        lock = (study.dagster_home / _HISTORY_LOCK_FILE).open("a")
    except OSError:
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open(study: Study) -> IO[str]:
    """The lock's file: beside the artifacts, which several studies may share, or in the study if they are remote."""
    folder = Path(study.store.base.path) if study.store.is_local else study.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / _LOCK_FILE).open("a")

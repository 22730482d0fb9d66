"""Who may be at work in a store: many runs together, or one that collects or repairs alone.

Also who computes one artifact, and who opens a history.
"""

from __future__ import annotations

import errno
import fcntl
import os
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
def computing_alone(scratch: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """Let one process at a time compute an artifact: two would write into the same unfinished work.

    Where no lock can be had, none is taken.

    Parameters
    ----------
    scratch
        The artifact's folder for unfinished work, which need not be there; the lock lies beside it.
    say
        Is told once if there is somebody to wait for.

    Yields
    ------
    bool
        Whether another process was waited for, which may have made the artifact meanwhile.
    """
    path = scratch.with_name(f"{scratch.name}.lock")
    lock, waited = None, False
    with suppress(_NoLockError):
        lock, waited = _locked_by_name(path, say)
    if lock is None:
        yield False
        return
    with lock:
        try:
            yield waited
        finally:
            # While it is held: who opened it before finds that the name is gone or another's, and opens it again.
            with suppress(OSError):
                path.unlink()


def is_idle(path: Path) -> bool:
    """Whether no process holds a lock of `computing_alone`; not so where that cannot be told."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class _NoLockError(Exception):
    """The file system has no room for the file, or knows no locks."""


def _locked_by_name(path: Path, say: Callable[[str], None]) -> tuple[IO[str], bool]:
    """The file that has this name now, locked, and whether another process had it."""
    waited = False
    while True:
        lock = _opened(path)
        try:
            if not _take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                if not waited:
                    say(f"waiting for another process{_holder(lock)}, which computes the same")
                waited = True
                _take(lock, fcntl.LOCK_EX)
            if _is_named(lock, path):
                # For who waits; what has no room for it is a lock all the same.
                with suppress(OSError):
                    lock.truncate(0)
                    lock.write(str(os.getpid()))
                    lock.flush()
                return lock, waited
        except BaseException:
            lock.close()
            raise
        lock.close()
        # Its holder has ended since it was opened.
        waited = True


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError:
        raise _NoLockError from None


def _take(lock: IO[str], how: int) -> bool:
    """Lock a file; False where that would mean to wait and `how` says not to."""
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    except OSError:
        with suppress(OSError):
            Path(lock.name).unlink()
        raise _NoLockError from None
    return True


def _is_named(lock: IO[str], path: Path) -> bool:
    """Not so once it was unlinked, which a network file system may tell as a stale handle."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    pid = lock.read()
    return f" ({pid})" if pid else ""


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

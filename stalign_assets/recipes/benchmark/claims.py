"""Who computes what: folds that run at once in processes of their own never compute the same thing twice."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Final

_FILE: Final = "claims.lock"
_DIGITS: Final = 15
_LOOK_EVERY_SECONDS: Final = 0.2


@cache
def claims_in(folder: Path) -> Claims:
    """The one object of this process: closing any other handle of its file would end every claim."""
    return Claims(folder)


class Claims:
    """Claims of one process, told to others by locks on single bytes of a file, at places that follow from keys.

    A claim ends with its context, or with the process, however it ends. Where no lock can be had, everything may be
    claimed by everybody: then some things are computed twice, and the store keeps the first.

    Parameters
    ----------
    folder
        On a disk of this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / _FILE).open("ab")
        except OSError:
            pass

    @contextmanager
    def claim(self, key: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process alone may compute what a hexadecimal key names; with `wait`, once others are done."""
        while not self._lock(key):
            if not wait:
                yield False
                return
            time.sleep(_LOOK_EVERY_SECONDS)
        try:
            yield True
        finally:
            self._unlock(key)

    def _lock(self, key: str) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key), os.SEEK_SET)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
        return True

    def _unlock(self, key: str) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key), os.SEEK_SET)


def _place(key: str) -> int:
    return int(key[:_DIGITS], 16)

"""Which files the kernel saw being read, by any library and any process: Linux's inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_ACCESS = 0x1
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16


class FileAccesses:
    """Within this context, notes which of some files are read, hashing included; memory maps are not seen."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._paths = list(files)

    def __enter__(self) -> Self:
        self._queue = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._queue < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be used")
        self._watched: dict[int, Path] = {}
        for path in self._paths:
            watch = self._libc.inotify_add_watch(self._queue, os.fsencode(path), _IN_ACCESS)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"{path} cannot be watched")
            self._watched[watch] = path
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._queue)

    def take(self) -> set[Path]:
        """Files read since the last call."""
        found: set[Path] = set()
        while True:
            try:
                events = os.read(self._queue, _BUFFER)
            except BlockingIOError:
                return found
            place = 0
            while place < len(events):
                watch, mask, _, length = _EVENT.unpack_from(events, place)
                if mask & _IN_Q_OVERFLOW:
                    raise RuntimeError("more reads than inotify keeps")
                if watch in self._watched:
                    found.add(self._watched[watch])
                place += _EVENT.size + length

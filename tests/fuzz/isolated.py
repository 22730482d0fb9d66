"""A reader in a process of its own, for libraries that may never come back from a file, or end the process."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from stalign_core.errors import StalignError
from tests.fuzz.targets import TARGETS

NATIVE = ("h5ad", "tenx_h5", "positions_parquet")
"""Targets that are read by HDF5 and Arrow."""
READ, REFUSED, FAILED, LOST = "read", "refused", "failed", "lost"


class Isolated:
    """Reads payloads in another process, and starts a new one when that is lost."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def take(self, name: str, payload: bytes) -> tuple[str, str]:
        """How it went, and the line of a refusal or the traceback of a failure."""
        self._connection.send((name, payload))
        try:
            if self._connection.poll(self._seconds):
                kind, text = self._connection.recv()
                return kind, text
        except EOFError:
            pass
        self._stop()
        self._start()
        return LOST, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection) -> None:
    while True:
        name, payload = connection.recv()
        with tempfile.TemporaryDirectory() as folder:
            try:
                TARGETS[name].take(payload, Path(folder))
                connection.send((READ, ""))
            except StalignError as error:
                connection.send((REFUSED, error.line))
            except Exception:
                connection.send((FAILED, traceback.format_exc()))

"""A reader in a process of its own, for libraries that may never come back from a file, or end the process."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest

from stalign_assets.measure import high_water_mark
from stalign_core.errors import InputDataError, StalignError
from stalign_core.readers.native_probe import check_native_files
from tests.fuzz.targets import TARGETS

NATIVE = ("h5ad", "tenx_h5", "positions_parquet")
"""Targets that are read by HDF5 and Arrow."""
READ, REFUSED, FAILED, LOST = "read", "refused", "failed", "lost"
_MOST_MEMORY = 2 * 2**30
_READY = "ready"
_SECONDS_TO_START = 300
_PATIENCE = 15
"""Seconds by the clock that one of the processor may take."""


class Isolated:
    """Reads payloads in another process, and starts a new one when that is lost.

    A payload has so many seconds of the processor; on a busy machine that takes longer by the clock.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def take(self, name: str, payload: bytes) -> tuple[str, str]:
        """How it went, and the line of a refusal or the traceback of a failure; two gigabytes are a failure, too."""
        self._connection.send((name, payload))
        with suppress(EOFError, psutil.Error):
            if self._answers():
                kind, text = self._connection.recv()
                return kind, text
        self._stop()
        self._start()
        return LOST, ""

    def _answers(self) -> bool:
        process = psutil.Process(self._process.pid)
        spent, began = _processor_seconds(process), time.monotonic()
        while not self._connection.poll(0.5):
            waited = time.monotonic() - began
            if waited > _PATIENCE * self._seconds or _processor_seconds(process) - spent > self._seconds:
                return False
        return True

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
        assert self._connection.poll(_SECONDS_TO_START), "the process that reads did not start"
        assert self._connection.recv() == _READY

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def judge_as_a_study_reads(process: Isolated, name: str, payload: bytes) -> str:
    """Assert that a payload is read, refused in one line, or refused by the look before reading; returns which."""
    how, said = process.take(name, payload)
    assert how != FAILED, said
    if how == REFUSED:
        assert said == " ".join(said.split())
    if how == LOST:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / TARGETS[name].name
            path.write_bytes(payload)
            with pytest.raises(InputDataError, match=r"keeps its reader|ends the process") as refused:
                check_native_files([path], least_seconds=10)
            assert "\n" not in refused.value.line
    return how


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _serve(connection: Connection) -> None:
    connection.send(_READY)
    while True:
        name, payload = connection.recv()
        with tempfile.TemporaryDirectory() as folder:
            connection.send(_within_memory(_take(name, payload, Path(folder))))


def _take(name: str, payload: bytes, folder: Path) -> tuple[str, str]:
    try:
        TARGETS[name].take(payload, folder)
    except StalignError as error:
        return REFUSED, error.line
    except Exception:
        return FAILED, traceback.format_exc()
    return READ, ""


def _within_memory(answer: tuple[str, str]) -> tuple[str, str]:
    peak = high_water_mark()
    return answer if peak < _MOST_MEMORY else (FAILED, f"reading took {peak} bytes of memory")

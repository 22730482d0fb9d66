"""Signals that ask a command to stop, noticed also where what a handler raises is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_STOP: Final = frozenset({signal.SIGINT, signal.SIGTERM})
_MOST_BYTES: Final = 4096


@contextmanager
def noticing_stop() -> Iterator[Callable[[], bool]]:
    """Within the context, the function given tells whether SIGINT or SIGTERM has come since it was last asked.

    Python drops what a handler raises in the middle of garbage collection, and Dagster holds back what comes while it
    writes an event: then a run goes on to its end as if nothing had come. The interpreter itself writes the number of
    each signal into a pipe. Elsewhere than in the main thread, where no handler runs, the answer is no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield lambda: not _STOP.isdisjoint(_numbers(read))
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


@contextmanager
def keeping_sigterm(handler: Callable[..., object] | None = None) -> Iterator[None]:
    """After the context SIGTERM does what it did before, and within it what `handler` says, if one is given.

    Dagster leaves SIGTERM with what SIGINT does: in a command that a shell started in its background, and in what that
    starts, nothing. Elsewhere than in the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _numbers(read: int) -> bytes:
    try:
        return os.read(read, _MOST_BYTES)
    except BlockingIOError:
        return b""

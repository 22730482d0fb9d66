"""What processes of their own tell, carried to one terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from stalign_assets.reporting import Console, StepEnd

_SEND_EVERY_SECONDS: Final = 0.2


class PipeConsole:
    """A console that sends what it is told, progress a few times a second.

    Parameters
    ----------
    send
        Takes the name of a method of `Console` and its arguments.
    """

    def __init__(self, send: Callable[[tuple[str, Any]], None]) -> None:
        self._send = send
        self._sent = 0.0

    def title(self, text: str) -> None:
        """Send a heading."""
        self._send(("title", (text,)))

    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
        """Send that a step begins."""
        self._send(("step_started", (asset, partition, earlier_seconds)))

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Send how far a step is, unless that was sent a moment ago."""
        now = time.monotonic()
        if now - self._sent >= _SEND_EVERY_SECONDS:
            self._sent = now
            self._send(("step_progress", (what, done, total)))

    def step_said(self, line: str) -> None:
        """Send a line."""
        self._send(("step_said", (line,)))

    def step_done(self, end: StepEnd) -> None:
        """Send that a step has its artifact."""
        self._send(("step_done", (end,)))

    def fault(self, line: str) -> None:
        """Send a fault."""
        self._send(("fault", (line,)))


class FoldsConsole:
    """Shows several folds on a console that has one line of progress: what each is at, and all counts together."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._at: dict[str, tuple[str, int, int]] = {}

    def tell(self, fold: str, method: str, arguments: tuple[Any, ...]) -> None:
        """Pass on what a fold tells."""
        if method == "step_progress":
            self._at[fold] = arguments  # type: ignore[assignment]
            what = "; ".join(f"{each}: {name.removeprefix(f'{each}, ')}" for each, (name, _, _) in self._at.items())
            done, total = (sum(at[position] for at in self._at.values()) for position in (1, 2))  # type: ignore[misc]
            self._console.step_progress(what, done, total)
        else:
            getattr(self._console, method)(*arguments)

    def forget(self, fold: str) -> None:
        """A fold is at its end."""
        self._at.pop(fold, None)

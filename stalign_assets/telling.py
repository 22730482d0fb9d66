"""What processes of their own tell, carried to one terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from stalign_assets.reporting import Console, StepEnd

_SEND_EVERY_SECONDS: Final = 0.2


class PipeConsole:
    """A console that sends what it is told, progress a few times a second; threads that tell at once wait in turn.

    Parameters
    ----------
    send
        Takes the name of a method of `Console` and its arguments.
    """

    def __init__(self, send: Callable[[tuple[str, Any]], None]) -> None:
        self._send = send
        self._sent = 0.0
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        """Send anything, whole: what two threads write into one pipe at once would be mixed."""
        with self._lock:
            self._send((kind, content))

    def title(self, text: str) -> None:
        """Send a heading."""
        self.send("title", (text,))

    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
        """Send that a step begins."""
        self.send("step_started", (asset, partition, earlier_seconds))

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Send how far a step is, unless that was sent a moment ago."""
        now = time.monotonic()
        if now - self._sent >= _SEND_EVERY_SECONDS:
            self._sent = now
            self.send("step_progress", (what, done, total))

    def step_said(self, line: str) -> None:
        """Send a line."""
        self.send("step_said", (line,))

    def step_done(self, end: StepEnd) -> None:
        """Send that a step has its artifact."""
        self.send("step_done", (end,))

    def fault(self, line: str) -> None:
        """Send a fault."""
        self.send("fault", (line,))


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

"""How a step tells what it is doing: to Dagster's log, and to a watching terminal in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from stalign_assets.materialise import Materialisation

_LOG_EVERY_SECONDS: Final = 10.0


class Console(Protocol):
    """A terminal that follows the steps of this process."""

    def step_started(self, asset: str, partition: str) -> None:
        """A step begins."""

    def step_progress(self, what: str, done: int, total: int) -> None:
        """A step has done `done` of `total` units."""

    def step_said(self, line: str) -> None:
        """A step has something to say that is to be kept in view."""

    def step_done(self, result: Materialisation) -> None:
        """A step has an artifact."""


class _Silent:
    def step_started(self, asset: str, partition: str) -> None: ...
    def step_progress(self, what: str, done: int, total: int) -> None: ...
    def step_said(self, line: str) -> None: ...
    def step_done(self, result: Materialisation) -> None: ...


_console: Console = _Silent()


def attach(console: Console) -> None:
    """Let `console` follow every step of this process."""
    global _console  # noqa: PLW0603
    _console = console


def detach() -> None:
    """Stop reporting to a terminal."""
    attach(_Silent())


@dataclass
class Watcher:
    """Reports one step."""

    log: Callable[[str], None]
    _last_logged: float

    def progress(self, what: str, done: int, total: int) -> None:
        """Show progress on the terminal at once, and in the log every ten seconds."""
        _console.step_progress(what, done, total)
        now = time.monotonic()
        if now - self._last_logged >= _LOG_EVERY_SECONDS:
            self._last_logged = now
            self.log(f"{what}: {done} of {total}")

    def say(self, line: str) -> None:
        """Show and log a line."""
        _console.step_said(line)
        self.log(line)

    def said_done(self, line: str) -> None:
        """Report the end of a step that makes no artifact."""
        self.log(line)
        _console.step_said(line)

    def done(self, result: Materialisation) -> None:
        """Report the artifact."""
        manifest = result.artifact.manifest
        how = "reused" if result.reused else f"computed in {manifest.seconds:.1f} s"
        self.log(f"{how}, input key {manifest.input_key}")
        _console.step_done(result)


def watch(asset: str, partition: str, log: Callable[[str], None]) -> Watcher:
    """Begin to report a step."""
    _console.step_started(asset, partition)
    return Watcher(log, time.monotonic())

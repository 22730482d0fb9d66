"""How steps and runs tell what they are doing: to Dagster's log, and to a terminal that watches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from stalign_assets.materialise import Materialisation

WARNING: Final = "warning:"
"""How a line begins that a quiet terminal shows, too."""

TOLD: Final = "stalign/told"
"""Metadata of an engine's event that a terminal shows."""

_LOG_EVERY_SECONDS: Final = 10.0
_PROGRESS_LINE: Final = "{what}: {done} of {total}"
_PROGRESS: Final = re.compile(r"(.+): (\d+) of (\d+)")
_MEGABYTE: Final = 1e6


@dataclass(frozen=True)
class StepEnd:
    """An artifact that a step made or found again, whichever process it ran in."""

    asset: str
    partition: str
    reused: bool
    seconds: float
    peak_memory_mb: float
    parts_reused: int = 0

    @classmethod
    def of(cls, result: Materialisation) -> StepEnd:
        """The end of a step of this process."""
        manifest = result.artifact.manifest
        return cls(
            asset=manifest.asset,
            partition=manifest.partition,
            reused=result.reused,
            seconds=manifest.seconds,
            peak_memory_mb=manifest.peak_memory_bytes / _MEGABYTE,
            parts_reused=manifest.summary.get("parts_reused", 0),
        )


class Console(Protocol):
    """A terminal that follows runs and their steps."""

    def title(self, text: str) -> None:
        """A donor, the cohort or the tables begin."""

    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
        """A step begins, which took so long the last time; 0 where that is not known."""

    def step_progress(self, what: str, done: int, total: int) -> None:
        """A step has done `done` of `total` units."""

    def step_said(self, line: str) -> None:
        """A step has something to say that is to be kept in view."""

    def step_done(self, end: StepEnd) -> None:
        """A step has an artifact."""

    def fault(self, line: str) -> None:
        """A step failed."""


class Silent:
    """A console that shows nothing."""

    def title(self, text: str) -> None: ...
    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None: ...
    def step_progress(self, what: str, done: int, total: int) -> None: ...
    def step_said(self, line: str) -> None: ...
    def step_done(self, end: StepEnd) -> None: ...
    def fault(self, line: str) -> None: ...


class Tally:
    """Counts what was computed and what reused, and passes everything on to another console."""

    def __init__(self, console: Console) -> None:
        self.n_computed = 0
        self.n_reused = 0
        self._console = console
        self.title = console.title
        self.step_started = console.step_started
        self.step_progress = console.step_progress
        self.step_said = console.step_said
        self.fault = console.fault

    def step_done(self, end: StepEnd) -> None:
        """Count an artifact."""
        if end.reused:
            self.n_reused += 1
        else:
            self.n_computed += 1
        self._console.step_done(end)


_console: Console = Silent()


@contextmanager
def attached(console: Console) -> Iterator[None]:
    """Let `console` follow every step of this process."""
    global _console  # noqa: PLW0603
    before, _console = _console, console
    try:
        yield
    finally:
        _console = before


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
            self.log(_PROGRESS_LINE.format(what=what, done=done, total=total))

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
        _console.step_done(StepEnd.of(result))


def progress_in(line: str) -> tuple[str, int, int] | None:
    """What a logged line of progress tells, if it is one: what is done, how many units, and of how many."""
    found = _PROGRESS.fullmatch(line)
    return None if found is None else (found[1], int(found[2]), int(found[3]))


def watch(asset: str, partition: str, log: Callable[[str], None], earlier_seconds: float = 0.0) -> Watcher:
    """Begin to report a step, which took so long the last time."""
    _console.step_started(asset, partition, earlier_seconds)
    return Watcher(log, time.monotonic())

"""What the terminal shows while steps run: a live line of progress, and one line kept per step."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from stalign_assets.cli.plain_progress import EVERY_SECONDS, PlainProgress
from stalign_assets.reporting import WARNING, StepEnd
from stalign_core.store.store import UNPARTITIONED
from stalign_core.wording import span

_A_MOMENT = 2.0
"""Seconds."""


class _Times(ProgressColumn):
    """How much of a counted step is done, how long it has taken, and about how long it will take."""

    def render(self, task: Task) -> Text:
        """Such as ``3 of 12, 40 s, about 2 min left``; of a step that counts nothing, the time it has taken."""
        words = [span(task.elapsed or 0.0)]
        if task.total is not None:
            words.insert(0, f"{task.completed:.0f} of {task.total:.0f}")
            if task.time_remaining is not None:
                words.append(f"about {span(task.time_remaining)} left")
        return Text(", ".join(words))


class StepConsole:
    """Follows the steps of runs.

    On a terminal the step at work shows a moving line, with the time that is left where the step counts what it does;
    elsewhere (a log, CI) a line when it begins, and every ten seconds one that tells the same. A quiet console prints
    warnings and faults only. All of it goes to stderr.
    """

    def __init__(self, *, quiet: bool = False, every_seconds: float = EVERY_SECONDS) -> None:
        self.console = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Times(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._progress.add_task("", visible=False, total=None)
        # Steps of other processes are told by two threads.
        self._lock = threading.RLock()
        is_plain = not (quiet or self.console.is_terminal)
        self._plain = PlainProgress(self._print_plain, every_seconds) if is_plain else None

    def __enter__(self) -> Self:
        self._progress.start()
        if self._plain:
            self._plain.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._plain:
            self._plain.stop()
        self._progress.stop()

    def title(self, text: str) -> None:
        """Print a heading."""
        self._at_rest()
        self._print(f"[bold]{escape(text)}[/bold]")

    def working(self, what: str) -> None:
        """Show what is at work, where it takes its time, until something is told of it or of a step."""
        self._show_uncounted(what)
        if self._plain:
            self._plain.wait_for(what)

    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
        """Show the step at work, and how long it took the last time where that was longer than a moment."""
        place = _place(asset, partition)
        if earlier_seconds >= _A_MOMENT:
            place += f" (took {span(earlier_seconds)} last time)"
        self._show_uncounted(place)
        if self._plain:
            self._plain.begin(place)

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Move the step's bar."""
        with self._lock:
            self._progress.update(self._task, description=escape(what), completed=done, total=total, visible=True)
        if self._plain:
            self._plain.count(what, done, total)

    def step_said(self, line: str) -> None:
        """Keep a line in view; a quiet console keeps warnings."""
        if not self._quiet or line.startswith(WARNING):
            self._progress.print(f"    {line}", markup=False)

    def step_done(self, end: StepEnd) -> None:
        """Print the finished step."""
        self._at_rest()
        place = escape(_place(end.asset, end.partition))
        if end.reused:
            self._print(f"  [green]✓[/green] {place}: reused")
            return
        taken = f" ({end.parts_reused} parts reused)" if end.parts_reused else ""
        self._print(f"  [green]✓[/green] {place}: {end.seconds:.1f} s, {end.peak_memory_mb:.0f} MB{taken}")

    def fault(self, line: str) -> None:
        """Print a failed step's line."""
        self._at_rest()
        self._progress.print(f"  [red]✗[/red] {escape(line)}")

    def _show_uncounted(self, what: str) -> None:
        # A task that has counted cannot be told to count no more, so that another takes its place.
        with self._lock:
            before, self._task = self._task, self._progress.add_task(escape(what), total=None)
            self._progress.remove_task(before)

    def _at_rest(self) -> None:
        with self._lock:
            self._progress.update(self._task, visible=False)
        if self._plain:
            self._plain.end()

    def _print_plain(self, line: str) -> None:
        self.console.print(line, markup=False)

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._progress.print(text)


def _place(asset: str, partition: str) -> str:
    return asset if partition in ("", UNPARTITIONED) else f"{asset} of {partition}"

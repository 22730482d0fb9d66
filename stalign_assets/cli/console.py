"""What the terminal shows while steps run: a live line of progress, and one line kept per step."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from stalign_assets.reporting import WARNING, StepEnd
from stalign_core.store.store import UNPARTITIONED


def quiet_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--quiet`` of a command that shows progress."""
    return click.option("--quiet", "-q", is_flag=True, help="Print errors and warnings only.")(command)


class _Times(ProgressColumn):
    """How much of a counted step is done, how long it has taken, and about how long it will take."""

    def render(self, task: Task) -> Text:
        """Such as ``3 of 12, 40 s, about 2 min left``; of a step that counts nothing, the time it has taken."""
        words = [_span(task.elapsed or 0.0)]
        if task.total is not None:
            words.insert(0, f"{task.completed:.0f} of {task.total:.0f}")
            if task.time_remaining is not None:
                words.append(f"about {_span(task.time_remaining)} left")
        return Text(", ".join(words))


class StepConsole:
    """Follows the steps of runs.

    On a terminal the step at work shows a moving line, with the time that is left where the step counts what it does;
    elsewhere (a log, CI) only finished steps are printed. A quiet console prints faults only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
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

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def title(self, text: str) -> None:
        """Print a heading."""
        self._print(f"[bold]{text}[/bold]")

    def step_started(self, asset: str, partition: str) -> None:
        """Show the step at work."""
        self._progress.reset(self._task, description=_place(asset, partition), visible=True, total=None)

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Move the step's bar."""
        self._progress.update(self._task, description=what, completed=done, total=total, visible=True)

    def step_said(self, line: str) -> None:
        """Keep a line in view; a quiet console keeps warnings."""
        if not self._quiet or line.startswith(WARNING):
            self._progress.print(f"    {line}", markup=False)

    def step_done(self, end: StepEnd) -> None:
        """Print the finished step."""
        self._progress.update(self._task, visible=False)
        place = _place(end.asset, end.partition)
        if end.reused:
            self._print(f"  [green]✓[/green] {place}: reused")
            return
        taken = f" ({end.parts_reused} parts reused)" if end.parts_reused else ""
        self._print(f"  [green]✓[/green] {place}: {end.seconds:.1f} s, {end.peak_memory_mb:.0f} MB{taken}")

    def fault(self, line: str) -> None:
        """Print a failed step's line."""
        self._progress.print(f"  [red]✗[/red] {line}")

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._progress.print(text)


def _span(seconds: float) -> str:
    """A time in the unit that suits it: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _place(asset: str, partition: str) -> str:
    return asset if partition in ("", UNPARTITIONED) else f"{asset} of {partition}"

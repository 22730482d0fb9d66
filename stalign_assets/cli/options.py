"""Options that every command has, and what their exit codes mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a step failed, or something wrong is left; 2 bad input or settings, said in one line on "
    "stderr; 3 done, donors left out; 130 interrupted."
)

Command = Callable[..., Any]


def quiet_option(command: Command) -> Command:
    """The option ``--quiet`` of a command that does something: what goes well is not told."""
    return click.option("--quiet", "-q", is_flag=True, help="Print errors and warnings only.")(command)


def quiet_question(command: Command) -> Command:
    """The option ``--quiet`` of a command that answers something: the answer is printed, progress is not."""
    return click.option("--quiet", "-q", is_flag=True, help="Print what was asked for, without progress.")(command)


def json_option(command: Command) -> Command:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs on stdout, and nothing else.")(
        command
    )

"""The ``stalign`` command group: global options, exit codes, one line per error."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Any, Final

import click

from stalign_assets.cli.options import EXIT_CODES
from stalign_assets.signals import keeping_sigterm
from stalign_core.errors import StalignError

EXIT_FAILURE: Final = 1
EXIT_BAD_INPUT: Final = 2

_COMMANDS: Final = (
    "demo",
    "init",
    "run",
    "map",
    "report",
    "export",
    "benchmark",
    "ui",
    "status",
    "metrics",
    "audit",
    "release",
    "gc",
    "doctor",
)


class _LazyGroup(click.Group):
    """Imports a command's file when the command is named, so that ``stalign --help`` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"stalign_assets.cli.{cmd_name}")
        command: click.Command = module.command
        for each in (command, *getattr(command, "commands", {}).values()):
            each.epilog = EXIT_CODES
        return command


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXIT_CODES,
)
@click.option("--traceback", is_flag=True, help="Show the full traceback of an error.")
@click.version_option(package_name="stalign")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Align spatial transcriptomics samples across donors: from a sample sheet to domains and metrics."""
    ctx.obj = {"traceback": traceback}


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error a user can act on is one line on stderr and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        # As Ctrl-C does: what is running ends in order, and so does the command.
        with keeping_sigterm(signal.default_int_handler):
            result: Any = cli.main(args=given, prog_name="stalign", standalone_mode=False)
    except StalignError as error:
        if "--traceback" in given:
            raise
        click.echo(f"error: {error.line}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except click.exceptions.Abort:
        click.echo("stopped; what was finished is kept, and the next run goes on from there", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()

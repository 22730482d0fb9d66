"""``stalign demo``: simulate a cohort and run everything on it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("demo")
@click.option(
    "--study",
    default="demo_study",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the demo study.",
)
@quiet_option
@json_option
def command(study: Path, quiet: bool, as_json: bool) -> int:
    """Simulate a cohort of 3 donors in Space Ranger's layout and run all assets, scopes and variants on it."""
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.cli.metrics import print_report

    start = time.monotonic()
    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.demo import create_demo
        from stalign_assets.driver import Request, bring_up_to_date

        create_demo(study, console.title, console.step_progress)
        report = bring_up_to_date(Request.parse(study), console)
    print_report(report, quiet=quiet, as_json=as_json)
    if not (quiet or as_json):
        click.echo(f"done in {time.monotonic() - start:.0f} s")
    return report.exit_code

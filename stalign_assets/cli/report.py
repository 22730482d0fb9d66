"""``stalign report``: pages for people."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("report")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--variant", default="", help="Whose domains are told. Default: Harmony's, else the first that corrects.")
@quiet_option
@json_option
def command(study: Path, variant: str, quiet: bool, as_json: bool) -> None:
    """Write reports/cohort.html of STUDY, a page per donor, and their figures as PNG and SVG."""
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.pages.writing import write_reports
        from stalign_assets.study import open_study

        written = write_reports(open_study(study), variant, console.step_progress).files
    if as_json:
        click.echo(json.dumps([str(path) for path in written], indent=1))
        return
    for path in () if quiet else written:
        click.echo(path)

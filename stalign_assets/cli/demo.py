"""``stalign demo``: simulate a cohort and run everything on it."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command("demo")
@click.option(
    "--study",
    default="demo_study",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the demo study.",
)
def command(study: Path) -> int:
    """Simulate a cohort of 3 donors in Space Ranger's layout and run all assets, scopes and variants on it."""
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.cli.metrics import print_headline
    from stalign_assets.demo import create_demo
    from stalign_assets.driver import Request, bring_up_to_date

    start = time.monotonic()
    create_demo(study, say=click.echo)
    with StepConsole() as console:
        report = bring_up_to_date(Request.parse(study), console)
    print_headline(report.study)
    click.echo(f"done in {time.monotonic() - start:.0f} s")
    for line in report.lines():
        click.echo(line, err=line.startswith("error:"))
    return report.exit_code

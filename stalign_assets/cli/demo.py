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
    from stalign_assets.cli.metrics import print_table
    from stalign_assets.demo import create_demo
    from stalign_assets.driver import Request, bring_up_to_date
    from stalign_assets.results.headline import headline

    start = time.monotonic()
    create_demo(study, say=click.echo)
    report = bring_up_to_date(Request.parse(study))
    if report.success:
        print_table(headline(report.study.metrics_path, report.study.settings))
    for line in report.lines():
        click.echo(line)
    click.echo(f"done in {time.monotonic() - start:.0f} s; see it in the Dagster UI: stalign ui {study}")
    return report.exit_code

"""``stalign metrics``: the metrics table, or any SQL over the study's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stalign_assets.cli.options import json_option, quiet_question

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.report import Report


@click.command("metrics")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--sql", help="One SQL statement over the tables of the study (read-only); 'show tables' lists them.")
@quiet_question
@json_option
def command(study: Path, sql: str | None, quiet: bool, as_json: bool) -> None:
    """Print the metrics of STUDY: every variant, corrected features alone and with AESTETIK."""
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.results.headline import headline
    from stalign_assets.results.tables import query
    from stalign_assets.study import METRICS_FILE, settings_of_study

    with StepConsole(quiet=quiet) as console:
        console.working("asking the tables")
        settings = settings_of_study(study)
        path = study / METRICS_FILE
        table = query(path, sql) if sql else headline(path, settings)
    if as_json:
        click.echo(table.to_json(orient="records", indent=1))
    else:
        print_table(table)


def print_table(table: pd.DataFrame) -> None:
    """Print a table with three decimals, whole however narrow the terminal is."""
    click.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))


def print_report(report: Report, *, quiet: bool, as_json: bool) -> None:
    """Print the metrics, what a run did, and on stderr what went wrong; if quiet, only what is wrong."""
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
        return
    from stalign_assets.results.headline import headline

    study = report.study
    if not quiet and study.metrics_path.is_file():
        print_table(headline(study.metrics_path, study.settings))
    for line in report.problems() if quiet else report.lines():
        click.echo(line, err=line.startswith("error:"))

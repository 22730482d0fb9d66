"""``stalign benchmark``: the paper's study on the donors of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stalign_assets.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from stalign_assets.benchmarking import Outcome


@click.command("benchmark")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be computed and how long it would take.")
@quiet_option
@json_option
def command(study: Path, dry_run: bool, quiet: bool, as_json: bool) -> int:
    """Run nested cross-validation by donor on STUDY: search, comparison, the paper's figures, one HTML page.

    What to run is set in [benchmark] of study.toml. Trials that are there are not computed again, so interrupted work
    goes on where it stopped and a wider grid costs its difference. A dry run reads samples and deals folds: what
    there is to compute depends on their labels.
    """
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.benchmarking import run_benchmark

        outcome = run_benchmark(study, console, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(outcome.to_dict(), indent=1))
        return outcome.exit_code
    if not quiet:
        _print_outcome(outcome, dry_run=dry_run)
    for line in (*outcome.bad_input, *outcome.failures):
        click.echo(f"error: {line}", err=True)
    return outcome.exit_code


def _print_outcome(outcome: Outcome, *, dry_run: bool) -> None:
    from stalign_assets.benchmarking import FOLDER, PAGE, results_tables
    from stalign_assets.cli.metrics import print_table
    from stalign_assets.recipes.benchmark.results import SHOWN_METRICS
    from stalign_assets.study import REPORTS_FOLDER
    from stalign_core.benchmark.page import gains_table, main_table
    from stalign_core.wording import span

    for line in outcome.notes:
        click.echo(line)
    if outcome.forecast is not None and dry_run:
        click.echo(outcome.forecast.line())
    if outcome.files:
        if outcome.forecast is not None and outcome.forecast.expected:
            click.echo(f"took {span(outcome.seconds)}, foreseen were {span(outcome.forecast.expected)}")
        tables = results_tables(outcome.study)
        clusterer = outcome.study.settings.domains.clusterer
        print_table(main_table(tables["summary"], clusterer, SHOWN_METRICS))
        print_table(gains_table(tables["differences"], clusterer))
        for name, reason in outcome.missing.items():
            click.echo(f"{name} is not drawn: {reason}")
        click.echo(f"page: {outcome.study.folder / REPORTS_FOLDER / FOLDER / PAGE}")

"""``stalign run``: one Dagster run per donor that needs work, then one for the cohort."""

from __future__ import annotations

from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("run")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--scopes", default="donor,cohort", show_default=True, help="donor (each alone), cohort (all jointly).")
@click.option("--variants", help="Only these variants, comma-separated. Default: all of study.toml.")
@click.option("--donors", help="Only these donors' own assets, comma-separated. Default: all of the sheet.")
@click.option("--n-domains", help="K: a number, 'annotation', or 'auto'; kept in study.toml.")
@quiet_option
@json_option
def command(
    study: Path,
    scopes: str,
    variants: str | None,
    donors: str | None,
    n_domains: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Bring STUDY up to date: read samples, integrate, name domains, measure.

    What is up to date is not computed again. Interrupted work goes on where it stopped.
    """
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.cli.metrics import print_report

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.driver import Request, bring_up_to_date

        request = Request.parse(study, scopes=scopes, variants=variants, donors=donors, n_domains=n_domains)
        report = bring_up_to_date(request, console)
    print_report(report, quiet=quiet, as_json=as_json)
    return report.exit_code

"""``stalign run``: one Dagster run per donor that needs work, then one for the cohort."""

from __future__ import annotations

import json
from pathlib import Path

import click

EXIT_LEFT_OUT = 3


@click.command("run")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--scopes", default="donor,cohort", show_default=True, help="donor (each alone), cohort (all jointly).")
@click.option("--variants", help="Only these variants, comma-separated. Default: all of study.toml.")
@click.option("--donors", help="Only these donors' own assets, comma-separated. Default: all of the sheet.")
@click.option("--n-domains", help="K: a number, or 'annotation'; kept in study.toml. Default: domains.n_domains.")
@click.option("--json", "as_json", is_flag=True, help="Print a machine-readable summary.")
def command(
    study: Path, scopes: str, variants: str | None, donors: str | None, n_domains: str | None, as_json: bool
) -> int:
    """Bring STUDY up to date: read samples, integrate, name domains, measure.

    What is up to date is not computed again. Interrupted work goes on where it stopped.
    """
    from stalign_assets.cli.metrics import print_table
    from stalign_assets.driver import Request, bring_up_to_date
    from stalign_assets.results.headline import headline

    request = Request.parse(study, scopes=scopes, variants=variants, donors=donors, n_domains=n_domains)
    report = bring_up_to_date(request)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    else:
        if report.success and report.study.metrics_path.is_file():
            print_table(headline(report.study.metrics_path, report.study.settings))
        for line in report.lines():
            click.echo(line, err=line.startswith("error:"))
    if not report.success:
        return report.exit_code
    return EXIT_LEFT_OUT if report.donors_left_out else 0

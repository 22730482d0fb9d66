"""``stalign map``: new samples in a trained cohort, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from stalign_assets.cli.options import json_option, quiet_option

_SHOWN: Final = ["sample", "donor", "spots", "genes_missing", "spots_unlike", "mean_confidence", "table"]


@click.command("map")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--samples", required=True, type=click.Path(path_type=Path), help="Sample sheet of the new samples.")
@click.option("--variant", default="", help="What they are placed in. Default: Harmony's, else scVI's.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the tables. Default: STUDY/reports/mapped.")
@quiet_option
@json_option
def command(study: Path, samples: Path, variant: str, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Name the domains of new SAMPLES after the trained cohort of STUDY, which stays as it is.

    Each sample is placed by itself: a CSV per sample has each spot's domain, how well it stands, and whether the spot
    resembles nothing that the cohort has seen.
    """
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.cli.metrics import print_table

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        import pandas as pd

        from stalign_assets.mapping import map_onto_cohort
        from stalign_assets.study import open_study

        mapped = map_onto_cohort(open_study(study), samples, variant, out, console.step_progress)
    if as_json:
        click.echo(json.dumps([sample.to_dict() for sample in mapped], indent=1))
        return
    if not quiet:
        print_table(pd.DataFrame([sample.to_dict() for sample in mapped])[_SHOWN])
    for sample in mapped:
        for line in sample.warnings:
            click.echo(f"{sample.sample}: {line}", err=True)

"""``stalign export``: the cohort in the formats of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("export")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--variant", default="", help="Whose results. Default: Harmony's, else the first that corrects.")
@click.option("--formats", default="h5ad,loupe,qupath,parquet", show_default=True, help="These, or spatialdata.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder. Default: STUDY/exports/VARIANT.")
@quiet_option
@json_option
def command(study: Path, variant: str, formats: str, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Write the cohort of STUDY for scanpy (.h5ad), SpatialData (.zarr), Loupe Browser, QuPath and as Parquet."""
    from stalign_assets.cli.console import StepConsole

    chosen = tuple(name.strip() for name in formats.split(",") if name.strip())
    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.exporting import export_cohort
        from stalign_assets.pages.content import reported_variant
        from stalign_assets.study import open_study

        opened = open_study(study)
        done = export_cohort(opened, variant or reported_variant(opened.settings), chosen, out, console.step_progress)
    if as_json:
        table = [
            {"format": each.format, "files": [str(path) for path in each.files], "spots": each.spots} for each in done
        ]
        click.echo(json.dumps(table, indent=1))
        return
    for each in () if quiet else done:
        where = each.files[0] if len(each.files) == 1 else each.files[0].parent
        click.echo(f"{each.format}: {each.spots} spots in {where}")

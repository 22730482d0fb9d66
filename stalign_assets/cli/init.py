"""``stalign init``: make a study folder from a sample sheet."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("init")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--samples",
    required=True,
    type=click.Path(path_type=Path),
    help="Sample sheet: sample,donor,path[,image,annotation].",
)
def command(study: Path, samples: Path) -> None:
    """Make the folder STUDY: settings with every default written out, the checked sample sheet, Dagster's home."""
    from stalign_assets.new_study import create_study

    created = create_study(study, samples)
    cohort = created.cohort
    click.echo(f"{study}: {len(cohort.samples)} samples of {len(cohort.donors)} donors ({', '.join(cohort.donors)})")
    click.echo(f"settings: {created.folder / 'study.toml'}")
    click.echo(f"next: stalign run {study}")

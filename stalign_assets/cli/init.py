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
    help="Sample sheet: a CSV with sample,donor,path[,image,annotation,bin,table,condition,retired].",
)
def command(study: Path, samples: Path) -> None:
    """Make the folder STUDY: settings with every default written out, the checked sample sheet, Dagster's home."""
    from stalign_assets.new_study import create_study
    from stalign_core.wording import counted

    created = create_study(study, samples)
    cohort = created.cohort
    held = f"{counted(len(cohort.samples), 'sample')} of {counted(len(cohort.donors), 'donor')}"
    click.echo(f"{study}: {held} ({', '.join(cohort.donors)})")
    if cohort.unread_columns:
        click.echo(f"columns that are kept, but not read: {', '.join(cohort.unread_columns)}")
    click.echo(f"settings: {created.folder / 'study.toml'}")
    click.echo(f"next: stalign run {study}")

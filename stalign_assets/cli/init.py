"""``stalign init``: make a study folder from a sample sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stalign_assets.cli.options import json_option, quiet_option

if TYPE_CHECKING:
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.study import Study


@click.command("init")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Sample sheet: a CSV with sample,donor,path[,image,annotation,bin,table,condition,retired].",
)
@click.option("--dataset", help="Instead of a sheet, a public data set: libd, usz_lung or tumor_profiler.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the files of --dataset were downloaded to.")
@quiet_option
@json_option
def command(
    study: Path, samples: Path | None, dataset: str | None, folder: Path | None, quiet: bool, as_json: bool
) -> None:
    """Make the folder STUDY: settings with every default written out, the checked sample sheet, Dagster's home."""
    from stalign_assets.cli.console import StepConsole
    from stalign_core.wording import counted

    if samples is not None and (dataset or folder):
        raise click.UsageError("Give --samples, or --dataset with --folder.")
    with StepConsole(quiet=quiet) as console:
        console.working("looking at the samples")
        from stalign_assets.new_study import create_study

        created = create_study(study, samples) if samples is not None else _of_dataset(study, dataset, folder, console)
    cohort = created.cohort
    if as_json:
        click.echo(json.dumps(_summary(created), indent=1))
        return
    if quiet:
        return
    held = f"{counted(len(cohort.samples), 'sample')} of {counted(len(cohort.donors), 'donor')}"
    click.echo(f"{study}: {held} ({', '.join(cohort.donors)})")
    if cohort.unread_columns:
        click.echo(f"columns that are kept, but not read: {', '.join(cohort.unread_columns)}")
    click.echo(f"settings: {created.folder / 'study.toml'}")
    click.echo(f"next: stalign run {study}")


def _summary(study: Study) -> dict[str, Any]:
    return {
        "study": str(study.folder),
        "settings": str(study.folder / "study.toml"),
        "donors": list(study.cohort.donors),
        "samples": [sample.sample for sample in study.cohort.samples],
        "unread_columns": list(study.cohort.unread_columns),
    }


def _of_dataset(study: Path, dataset: str | None, folder: Path | None, console: StepConsole) -> Study:
    """A study of a data set, by a sheet in the folder that holds it; no study leaves no new sheet there."""
    from stalign_assets.new_study import create_study
    from stalign_core.datasets import DATASETS, without_labels, write_sheet
    from stalign_core.datasets.sheet import SHEET

    if dataset is None or folder is None:
        raise click.UsageError("Missing option '--samples', or '--dataset' with '--folder'.")
    had_sheet = (folder / SHEET).exists()
    sheet = write_sheet(dataset, folder)
    console.step_said(f"sample sheet: {sheet}")
    try:
        created = create_study(study, sheet, DATASETS[dataset].settings)
    except BaseException:
        if not had_sheet:
            sheet.unlink(missing_ok=True)
        raise
    bare = without_labels(dataset, sheet)
    if bare:
        console.step_said(f"warning: {bare}")
    return created

"""``stalign gc``: remove what a study no longer needs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("gc")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--keep-days",
    default=30,
    show_default=True,
    type=click.IntRange(0, 36500),
    help="Keep results of earlier settings and inputs, and unfinished work, that are younger.",
)
@quiet_option
@json_option
def command(study: Path, dry_run: bool, keep_days: int, quiet: bool, as_json: bool) -> None:
    """Remove what STUDY no longer needs: earlier artifacts, what killed processes left, caches.

    The artifacts in force and all that they were made from stay, so the next run computes nothing anew.
    """
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("looking through the store")
        from stalign_assets.garbage import collect_garbage
        from stalign_assets.runs import open_instance
        from stalign_assets.study import open_study

        opened = open_study(study)
        with open_instance(opened) as instance:
            collected = collect_garbage(
                opened, instance, keep_days=keep_days, dry_run=dry_run, progress=console.step_progress
            )
    if as_json:
        click.echo(json.dumps(collected.to_dict(), indent=1))
        return
    for line in collected.left_alone() if quiet and not dry_run else collected.lines():
        click.echo(line)

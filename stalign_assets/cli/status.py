"""``stalign status``: what is up to date, what would be computed, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stalign_assets.cli.options import json_option, quiet_question

if TYPE_CHECKING:
    from stalign_assets.planning import PlannedStep


@click.command("status")
@click.argument("study", type=click.Path(path_type=Path))
@quiet_question
@json_option
def command(study: Path, quiet: bool, as_json: bool) -> None:
    """Show, for each donor and the cohort of STUDY, what is up to date and what a run would compute."""
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.planning import plan_study
        from stalign_assets.recipes.graph import recipes_of
        from stalign_assets.study import open_study

        opened = open_study(study)
        plans = plan_study(opened, recipes_of(opened.settings), console.step_progress)
    if as_json:
        click.echo(json.dumps([vars(step) for steps in plans.values() for step in steps], indent=1))
        return
    for partition, steps in plans.items():
        ready = sum(not step.has_work for step in steps)
        click.echo(f"{partition}: {ready} of {len(steps)} assets up to date")
        for line in _reasons(steps):
            click.echo(f"  {line}")


def _reasons(steps: list[PlannedStep]) -> list[str]:
    """One line for each asset that something was found of, and one for all that only wait for these."""
    told = [step for step in steps if step.has_work and not step.waits_for_another]
    lines = [f"{step.asset}: {step.state}" + (f" ({step.reason})" if step.reason else "") for step in told]
    n_waiting = sum(step.waits_for_another for step in steps)
    return [*lines, f"{n_waiting} more that are made from these"] if n_waiting else lines

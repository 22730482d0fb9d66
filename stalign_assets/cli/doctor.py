"""``stalign doctor``: find and repair what dead processes and broken files left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

_EXIT_LEFT: Final = 1


@click.command("doctor")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Put right what is found; nothing that a run could need is removed.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(study: Path, repair: bool, as_json: bool) -> int:
    """Find what dead processes and broken files left in STUDY: one line for each fault.

    Runs said to be at work whose process is gone, pools that they hold, staging folders, half-written files, pointers
    and manifests that are not whole, files of another size, databases that cannot be read.

    Exit codes: 0 nothing is wrong, or all of it was repaired; 1 something is left; 2 STUDY cannot be opened.
    """
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.doctor.examination import examine
    from stalign_assets.study import open_study

    opened = open_study(study)
    with StepConsole() as console:
        console.step_started("looking through the study", "")
        told = list(examine(opened, repair=repair))
    n_left = sum(each.outcome != "repaired" for each in told)
    if as_json:
        click.echo(json.dumps({"left": n_left, "findings": [each.to_dict() for each in told]}, indent=1))
    else:
        for each in told:
            click.echo(each.line)
        click.echo(_summary(len(told), n_left, repair))
    return _EXIT_LEFT if n_left else 0


def _summary(n_found: int, n_left: int, repair: bool) -> str:
    if not n_found:
        return "nothing is wrong; every byte is looked at by 'stalign audit STUDY --verify'"
    if repair:
        return f"{n_found - n_left} of {n_found} repaired"
    return f"{n_found} found; 'stalign doctor STUDY --repair' puts them right"

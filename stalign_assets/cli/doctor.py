"""``stalign doctor``: find and repair what dead processes and broken files left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from stalign_assets.cli.options import json_option, quiet_option

_EXIT_LEFT: Final = 1


@click.command("doctor")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Put right what is found; nothing that a run could need is removed.")
@quiet_option
@json_option
def command(study: Path, repair: bool, quiet: bool, as_json: bool) -> int:
    """Find what dead processes and broken files left in STUDY: one line for each fault.

    Runs said to be at work whose process is gone, pools that they hold, staging folders, half-written files, pointers
    and manifests that are not whole, files of another size, databases that cannot be read.

    Exit codes: 0 nothing is wrong, or all of it was repaired; 1 something is left; 2 STUDY cannot be opened.
    """
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("loading")
        from stalign_assets.doctor.examination import examine
        from stalign_assets.study import open_study

        told = list(examine(open_study(study), repair=repair, progress=console.step_progress))
    n_left = sum(each.outcome != "repaired" for each in told)
    if as_json:
        click.echo(json.dumps({"left": n_left, "findings": [each.to_dict() for each in told]}, indent=1))
    else:
        for each in told:
            click.echo(each.line)
        if not quiet:
            click.echo(_summary(len(told), n_left, repair))
    return _EXIT_LEFT if n_left else 0


def _summary(n_found: int, n_left: int, repair: bool) -> str:
    if not n_found:
        return "nothing is wrong; every byte is looked at by 'stalign audit STUDY --verify'"
    if repair:
        return f"{n_found - n_left} of {n_found} repaired"
    return f"{n_found} found; 'stalign doctor STUDY --repair' puts them right"

"""``stalign audit``: where a result comes from, whether it is what was stored, and what has changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stalign_assets.cli.options import json_option, quiet_question

if TYPE_CHECKING:
    from stalign_assets.planning import PlannedStep


@click.command("audit")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--asset", help="Asset to ask about, such as cohort/harmony/domains.")
@click.option(
    "--donor",
    "--partition",
    "donor",
    help="Donor, or fold of the benchmark, for an asset that has one artifact per donor or fold.",
)
@click.option(
    "--artifact", "key", help="Any retained artifact instead of the one in force: its input key, or how it begins."
)
@click.option(
    "--verify", "verifying", is_flag=True, help="Hash all files again; without --asset, those of the whole store."
)
@click.option("--stale", "staling", is_flag=True, help="List what a run would compute anew, and why.")
@quiet_question
@json_option
def command(
    study: Path,
    asset: str | None,
    donor: str | None,
    key: str | None,
    verifying: bool,
    staling: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Print all that a result of STUDY was made from: raw files with SHA-256, donors, settings, seeds, versions, runs.

    Exit code 1 if --verify finds anything that is not as it was stored.
    """
    from stalign_assets.audit.ancestry import ancestry_of, artifact_asked_for
    from stalign_assets.audit.left_out import left_out_now
    from stalign_assets.audit.staleness import changes_since, stale_steps
    from stalign_assets.audit.trail import trail_lines, trail_table
    from stalign_assets.audit.verification import verify
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.recipes.graph import recipes_of
    from stalign_assets.study import open_study
    from stalign_core.errors import StudyError
    from stalign_core.store.releases import broken_releases

    opened = open_study(study)
    recipes = recipes_of(opened.settings)
    told: dict[str, Any] = {}
    of_whole_store = asset is None and key is None
    if of_whole_store and staling:
        raise StudyError("--stale", "is told of one asset", remedy="add --asset, or see 'stalign status STUDY'")
    if of_whole_store and donor is not None:
        raise StudyError("--donor", "is given without an asset", remedy="add --asset, such as raw_samples")
    with StepConsole(quiet=quiet) as console:
        console.working("reading manifests")
        if of_whole_store and verifying:
            faults: list[str] = []
            artifacts = list(opened.store.artifacts(lambda error: faults.append(error.line), console.step_progress))
            faults += [error.line for error in (*opened.store.broken_pointers(), *broken_releases(opened.store))]
            lines: list[str] = []
        else:
            root = artifact_asked_for(opened, recipes, asset=asset, donor=donor, key=key)
            ancestry = ancestry_of(opened.store, root, console.step_progress)
            artifacts, faults = list(ancestry.artifacts), list(ancestry.faults)
            # What was found is told before hours of hashing, and again in whole for a program.
            now = left_out_now(opened, recipes, ancestry)
            told, lines = trail_table(ancestry, now), list(trail_lines(ancestry, now))
    _say(lines, as_json)
    if staling:
        with StepConsole(quiet=quiet) as console:
            console.working("looking for what has changed")
            steps = (
                stale_steps(opened, recipes, told["asset"], told["partition"], console.step_progress)
                if told["asset"] in recipes
                else []
            )
        told["stale"] = [vars(step) for step in steps]
        if not told["in_force"]:
            told["changed_since"] = changes_since(opened, recipes, ancestry.root)
            _say([f"not in force: {line}" for line in told["changed_since"]], as_json)
        _say(_stale_lines(steps, known=told["asset"] in recipes), as_json)
    is_whole = True
    if verifying:
        with StepConsole(quiet=quiet) as console:
            done = verify(opened, recipes, artifacts, faults, console.step_progress)
        told["verified"], is_whole = done.to_dict(), not done.mismatches
        _say(done.lines(), as_json)
    if as_json:
        click.echo(json.dumps(told, indent=1))
    return 0 if is_whole else 1


def _say(lines: list[str], as_json: bool) -> None:
    for line in () if as_json else lines:
        click.echo(line)


def _stale_lines(steps: list[PlannedStep], *, known: bool) -> list[str]:
    if not known:
        return ["stale: the settings of the study name no such asset any more, so nothing would be computed"]
    if not steps:
        return ["stale: nothing; a run would compute nothing anew"]
    return [f"stale: {len(steps)} artifacts", *(_stale_line(step) for step in steps)]


def _stale_line(step: PlannedStep) -> str:
    from stalign_core.store.store import UNPARTITIONED

    of = "" if step.partition == UNPARTITIONED else f" of {step.partition}"
    return f"  {step.asset}{of}: {step.state}" + (f" ({step.reason})" if step.reason else "")

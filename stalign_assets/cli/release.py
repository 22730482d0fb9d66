"""``stalign release``: pin domains under a name, list, compare and unpin releases."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option, quiet_question

_STUDY = click.argument("study", type=click.Path(path_type=Path))


@click.group("release")
def command() -> None:
    """Keep domains under a name, so that later integrations can go on with their labels."""


@command.command("pin")
@_STUDY
@click.argument("name")
@click.option(
    "--variants", help="Only these variants, comma-separated. Default: all whose cohort domains are up to date."
)
@quiet_option
@json_option
def pin(study: Path, name: str, variants: str | None, quiet: bool, as_json: bool) -> None:
    """Pin the cohort's domains of STUDY as release NAME; they are never collected."""
    from stalign_assets.cli.console import StepConsole

    chosen = tuple(word.strip() for word in (variants or "").split(",") if word.strip())
    with StepConsole(quiet=quiet) as console:
        console.working("reading the domains in force")
        from stalign_assets.releases import pin as pin_release
        from stalign_assets.study import open_study

        release = pin_release(open_study(study), name, chosen)
    if as_json:
        click.echo(json.dumps(asdict(release), indent=1))
        return
    if quiet:
        return
    click.echo(f"release {name}: domains of {', '.join(release.pinned)}")
    click.echo(f"next: stalign run {study}")


@command.command("list")
@_STUDY
@quiet_question
@json_option
def list_releases(study: Path, quiet: bool, as_json: bool) -> None:
    """List the releases of STUDY, the earliest first."""
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("reading the releases")
        from stalign_assets.study import open_study
        from stalign_core.store.releases import releases_of

        found = releases_of(open_study(study).store)
    if as_json:
        click.echo(json.dumps([asdict(release) for release in found], indent=1))
        return
    if not found:
        click.echo("no release is pinned; 'stalign release pin STUDY NAME' pins the cohort's domains in force")
    for release in found:
        held = ", ".join(f"{variant} ({len(each.names)} domains)" for variant, each in release.pinned.items())
        click.echo(f"{release.name}  {release.created}  {held}")


@command.command("compare")
@_STUDY
@click.argument("name")
@click.argument("other", required=False)
@quiet_question
@json_option
def compare(study: Path, name: str, other: str | None, quiet: bool, as_json: bool) -> None:
    """What became of the domains of release NAME in release OTHER, or in the domains in force."""
    from stalign_assets.cli.console import StepConsole
    from stalign_assets.cli.metrics import print_table

    with StepConsole(quiet=quiet) as console:
        console.working("comparing the domains")
        from stalign_assets.releases import compare as compare_releases
        from stalign_assets.study import open_study

        table = compare_releases(open_study(study), name, other)
    if as_json:
        click.echo(table.to_json(orient="records", indent=1))
    else:
        print_table(table)


@command.command("unpin")
@_STUDY
@click.argument("name")
@quiet_option
@json_option
def unpin(study: Path, name: str, quiet: bool, as_json: bool) -> None:
    """Forget release NAME of STUDY; its artifacts can be collected like any others."""
    from stalign_assets.study import open_study
    from stalign_core.store.releases import drop_release

    drop_release(open_study(study).store, name)
    if as_json:
        click.echo(json.dumps({"unpinned": name}))
    elif not quiet:
        click.echo(f"release {name} is pinned no more")

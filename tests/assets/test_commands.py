"""Every command has the options of all, and says what its exit codes mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stalign_assets.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


def _commands(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *before, name)
        else:
            yield " ".join([*before, name]), command


COMMANDS = dict(_commands(cli))


def _options(name: str) -> set[str]:
    return {word for parameter in COMMANDS[name].params for word in parameter.opts}


def test_all_commands_are_looked_at() -> None:
    assert {"run", "ui", "release pin", "release unpin", "doctor"} <= set(COMMANDS)
    assert len(COMMANDS) >= 17


@pytest.mark.parametrize("option", ["--quiet", "--json"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_options_of_all(name: str, option: str) -> None:
    assert option in _options(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_exit_codes_mean(name: str) -> None:
    told = " ".join(CliRunner().invoke(cli, [*name.split(), "--help"]).output.split())
    for words in ("0 done", "1 a step failed", "2 bad input", "3 done, donors left out", "130 interrupted"):
        assert words in told


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"`stalign {name.split()[0]}" in readme


def _output(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(each) for each in arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.stdout


def test_a_study_is_made_quietly_or_told_as_json(finished_study: Path, tmp_path: Path) -> None:
    sheet = finished_study / "samples.csv"
    assert _output("init", tmp_path / "one", "--samples", sheet, "--quiet") == ""
    told = json.loads(_output("init", tmp_path / "two", "--samples", sheet, "--json"))
    assert told["study"] == str(tmp_path / "two")
    assert told["donors"] == ["P01", "P02"]
    assert Path(told["settings"]).is_file()


def test_releases_are_pinned_and_unpinned_quietly_or_told_as_json(study: Path) -> None:
    assert _output("release", "pin", study, "v1", "--quiet") == ""
    assert [each["name"] for each in json.loads(_output("release", "list", study, "--json"))] == ["v1"]
    assert _output("release", "unpin", study, "v1", "--quiet") == ""
    assert json.loads(_output("release", "pin", study, "v2", "--json"))["name"] == "v2"
    assert json.loads(_output("release", "unpin", study, "v2", "--json")) == {"unpinned": "v2"}
    assert json.loads(_output("release", "list", study, "--json")) == []


@pytest.mark.parametrize(
    "command", [["status"], ["metrics"], ["audit", "--asset", "cohort/harmony/domains"], ["release", "list"]]
)
def test_a_quiet_question_is_answered(finished_study: Path, command: list[str]) -> None:
    first, *rest = command
    where = [first, rest.pop(0)] if first == "release" else [first]
    loud, quiet = (_output(*where, finished_study, *rest, *option) for option in ([], ["--quiet"]))
    assert quiet == loud != ""


def test_quiet_work_that_finds_nothing_prints_nothing(study: Path) -> None:
    for command in ("gc", "doctor"):
        assert _output(command, study) != ""
        assert _output(command, study, "--quiet") == ""

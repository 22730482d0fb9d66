"""One study driven by the UI and by the command in turn: a real server, runs launched as its buttons launch them."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import Study, open_study
from stalign_assets.unattended.attempts import UNATTENDED_TAG
from tests.studies import run
from tests.ui.graphql import MATERIALISATIONS, NODES, PARTITIONS, Ask, latest_metadata, launch, wait_for
from tests.ui.server import STOP_SECONDS, listening, processes_of_session, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

RUN_SECONDS = 600.0


def add_third_donor(study: Path, data: Path) -> str:
    """Append the simulated donor that the study does not hold yet; returns its name."""
    with (data / "samples.csv").open() as stream:
        row = list(csv.DictReader(stream))[2]
    relative = open_study(study).cohort.samples[0].path.parent
    with (study / "samples.csv").open(newline="") as stream:
        columns = next(csv.reader(stream))
    row |= {name: str(relative / row[name]) for name in ("path", "image", "annotation") if row.get(name)}
    with (study / "samples.csv").open("a", newline="") as stream:
        csv.DictWriter(stream, columns, lineterminator="\n").writerow({name: row[name] for name in columns})
    return row["donor"]


def assets_of(study: Study, *scopes: str) -> list[str]:
    recipes = recipes_of(study.settings)
    return [asset for scope in scopes for asset in assets_of_scope(recipes, scope, study.settings.variants)]


def materialise(ask: Ask, assets: list[str], partition: str | None = None) -> None:
    ended = wait_for(ask, launch(ask, assets, partition), RUN_SECONDS)
    assert ended["status"] == "SUCCESS", ended


def reused(ask: Ask, assets: list[str], partition: str | None = None) -> set[bool]:
    return {latest_metadata(ask, asset, partition)["reused"] for asset in assets}


def test_the_ui_and_the_command_drive_the_same_study(study: Path, tiny_data: Path) -> None:
    newcomer = add_third_donor(study, tiny_data)
    opened = open_study(study)
    of_donor = assets_of(opened, "samples", "donor")
    of_cohort = [*assets_of(opened, "cohort"), "metrics_tables", "cohort_report"]
    veteran = opened.cohort.donors[0]

    with serving(study) as server:
        node = server.ask(PARTITIONS, path=["raw_samples"])["assetNodeOrError"]
        assert sorted(node["partitionKeys"]) == sorted(opened.cohort.donors)
        assert node["partitionStats"]["numMaterialized"] == 2

        materialise(server.ask, of_donor, newcomer)
        assert reused(server.ask, of_donor, newcomer) == {False}
        materialise(server.ask, of_donor, veteran)
        assert reused(server.ask, of_donor, veteran) == {True}
        materialise(server.ask, of_cohort)
        assert reused(server.ask, of_cohort) == {False}
        assert latest_metadata(server.ask, "cohort/harmony/domains")["donors"] == ", ".join(opened.cohort.donors)

        report = run(study)
        assert report.success and report.n_computed == 0
        # The tables and the report are no artifacts.
        assert report.n_up_to_date == len(of_donor) * 3 + len(of_cohort) - 2

        materialise(server.ask, of_cohort)
        assert reused(server.ask, of_cohort) == {True}
        asset = server.ask(MATERIALISATIONS, path=["cohort", "harmony", "domains"])["assetOrError"]
        assert len(asset["assetMaterializations"]) == 3


def test_the_server_listens_on_loopback_alone_and_sigterm_ends_all_it_started(study: Path) -> None:
    with serving(study) as server:
        addresses = listening(server.process.pid)
        assert addresses and {address for address, _ in addresses} == {"127.0.0.1"}
        assert server.url.endswith(f":{addresses[0][1]}")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_SECONDS) == 0
        within(STOP_SECONDS, lambda: processes_of_session(server.process.pid) == [])


def test_settings_are_followed_and_donors_run_unattended_until_the_server_is_ended(study: Path) -> None:
    """A variant that is added while the server runs is loaded, and its assets are run; SIGTERM ends that run, too."""
    with serving(study) as server:
        assert "donor/second/domains" not in assets_shown(server.ask)
        settings = study / "study.toml"
        set_value(settings, "variants", "second", {"correction": "uncorrected"})
        set_value(settings, "automation", "watch_seconds", 1)
        set_value(settings, "automation", "watch", True)
        within(120, lambda: "donor/second/domains" in assets_shown(server.ask))
        within(RUN_SECONDS, lambda: "STARTED" in statuses_of_unattended_runs(study))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_SECONDS) == 0
        within(STOP_SECONDS, lambda: processes_of_session(server.process.pid) == [])
    assert "STARTED" not in statuses_of_unattended_runs(study)


def assets_shown(ask: Ask) -> set[str]:
    return {"/".join(node["assetKey"]["path"]) for node in ask(NODES)["assetNodes"]}


def statuses_of_unattended_runs(study: Path) -> list[str]:
    with open_instance(open_study(study)) as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(tags={UNATTENDED_TAG: "donor"}))
    return [run.status.value for run in runs]


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)

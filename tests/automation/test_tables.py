"""The sensor over what was measured: the tables follow it, in a run of their own, when nothing else is at work."""

from __future__ import annotations

import csv

import dagster as dg
import pytest

from stalign_assets.results.tables import query
from stalign_assets.settings_file import set_value
from stalign_assets.unattended.attempts import UNATTENDED_TAG
from stalign_assets.unattended.tables import decide_tables
from stalign_assets.unattended.watched import watched
from tests.automation.conftest import Unattended

pytestmark = pytest.mark.slow


def test_tables_follow_what_was_measured_once_nothing_is_at_work(unattended: Unattended) -> None:
    assert unattended.look_at_tables().skip_reason.skip_message == "the tables hold what was measured last"
    donor = unattended.add_third()
    unattended.settle()
    night = unattended.night()
    assert isinstance(night, dg.RunRequest)
    assert unattended.carry_out(night)
    at_work = at_work_unattended(unattended)
    assert unattended.look_at_tables().skip_reason.skip_message == "the tables wait for the runs at work"
    unattended.instance.report_run_canceled(at_work)
    (request,) = unattended.look_at_tables().run_requests
    assert [key.to_user_string() for key in request.asset_selection] == ["metrics_tables", "cohort_report"]
    assert unattended.carry_out(request)
    assert unattended.look_at_tables().skip_reason.skip_message == "the tables hold what was measured last"
    told = query(unattended.study.metrics_path, "select distinct donor from domains where scope = 'cohort'")
    assert donor in set(told["donor"])
    with (unattended.folder / "reports" / "domains_cohort_uncorrected.csv").open() as stream:
        assert {row["sample"] for row in csv.DictReader(stream)} == {"P01_S1", "P02_S1", "P03_S1"}


def at_work_unattended(unattended: Unattended) -> dg.DagsterRun:
    @dg.job
    def something() -> None: ...

    return unattended.instance.create_run_for_job(
        something, status=dg.DagsterRunStatus.STARTED, tags={UNATTENDED_TAG: "donor"}
    )


def test_tables_that_fail_are_given_up_until_something_new_is_measured(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    night = unattended.night()
    assert isinstance(night, dg.RunRequest)
    assert unattended.carry_out(night)
    unattended.study.metrics_path.unlink()
    unattended.study.metrics_path.mkdir()
    for attempt in (1, 2, 3):
        (request,) = unattended.look_at_tables().run_requests
        assert str(request.run_key).endswith(f":{attempt}")
        assert not unattended.carry_out(request)
    told = str(unattended.look_at_tables().skip_reason.skip_message)
    assert told.startswith("metrics_tables and cohort_report failed 3 times")


def test_reports_that_fail_are_tried_again_though_the_tables_are_there(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    night = unattended.night()
    assert isinstance(night, dg.RunRequest)
    assert unattended.carry_out(night)
    page = unattended.study.reports / "cohort.html"
    page.unlink()
    page.mkdir()
    for attempt in (1, 2):
        (request,) = unattended.look_at_tables().run_requests
        assert str(request.run_key).endswith(f":{attempt}")
        assert not unattended.carry_out(request)
    page.rmdir()
    (request,) = unattended.look_at_tables().run_requests
    assert unattended.carry_out(request)
    assert page.is_file()
    assert unattended.look_at_tables().skip_reason.skip_message == "the tables hold what was measured last"

    page.unlink()
    page.mkdir()
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 6)
    night = unattended.night()
    assert isinstance(night, dg.RunRequest)
    assert unattended.carry_out(night)
    for _ in range(3):
        (request,) = unattended.look_at_tables().run_requests
        assert not unattended.carry_out(request)
    told = str(unattended.look_at_tables().skip_reason.skip_message)
    assert told.startswith("cohort_report failed 3 times")


def test_reports_of_a_cohort_that_is_not_up_to_date_are_not_asked_for_again_and_again(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 4)
    night = unattended.night()
    assert isinstance(night, dg.RunRequest)
    assert unattended.carry_out(night)
    set_value(unattended.folder / "study.toml", "domains", "refine_neighbors", 5)
    (request,) = unattended.look_at_tables().run_requests
    assert unattended.carry_out(request)
    told = unattended.look_at_tables().skip_reason.skip_message
    assert told == "the tables hold what was measured last; cohort_report had nothing to be made from"


def test_nothing_is_rebuilt_where_nothing_was_measured(unattended: Unattended) -> None:
    empty = dg.DagsterInstance.ephemeral()
    assert decide_tables(watched(unattended.study), empty, (), ("metrics_tables",)) == "nothing was measured yet"

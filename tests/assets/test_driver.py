"""What a request runs, what one failure leaves standing, and what the report says of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.following import Follower
from stalign_assets.materialise import Materialisation, Step, materialise
from stalign_assets.planning import assets_of_scope
from stalign_assets.platform import assets
from stalign_assets.pools import free_dead_slots, telling_of_waits
from stalign_assets.processes import HOST_TAG, PROCESS_TAG, RUN_TAG, START_TAG, own_tags
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.report import Report
from stalign_assets.reporting import Silent, StepEnd, Watcher
from stalign_assets.results.tables import query
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.errors import InputDataError, SettingsError
from stalign_core.settings import parse_settings
from stalign_core.store.store import UNPARTITIONED
from tests.studies import run


@dataclass
class Recorder(Silent):
    """Keeps what a console would show."""

    ends: list[StepEnd] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
        """Keep the beginning of a step."""
        self.started.append(asset)

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Keep the progress of a step."""
        self.progress.append((what, done, total))

    def step_done(self, end: StepEnd) -> None:
        """Keep the end of a step."""
        self.ends.append(end)

    def fault(self, line: str) -> None:
        """Keep a failure."""
        self.faults.append(line)


def failing_at(*doomed: tuple[str, str]) -> Callable[[Step], Materialisation]:
    """A materialisation that fails for these assets and partitions."""

    def fail_or_materialise(step: Step) -> Materialisation:
        if (step.recipe.asset, step.partition) in doomed:
            raise InputDataError(step.recipe.asset, "was told to fail")
        return materialise(step)

    return fail_or_materialise


def current_setting(study: Path, asset: str, partition: str, name: str) -> object:
    artifact = open_study(study).store.current(asset, partition)
    assert artifact is not None
    return artifact.manifest.settings[name]


# Which assets and donors


TWO_ENCODERS = {
    "encoders": {"one": {}, "other": {}},
    "representations": {"elsewhere": {"obsm": "X"}},
    "variants": {"a": {"encoder": "one"}, "b": {"encoder": "other", "representation": "elsewhere"}},
}


def test_samples_of_a_variant_leave_out_encoders_and_embeddings_of_others() -> None:
    recipes = recipes_of(parse_settings(TWO_ENCODERS))
    common = {"raw_samples", "gene_statistics", "spot_grids"}
    own = set(assets_of_scope(recipes, "samples", ["a"]))
    assert own == {*common, "morphology_embeddings/one"}
    assert set(assets_of_scope(recipes, "samples", ["b"])) == {
        *common,
        "morphology_embeddings/other",
        "external_embeddings/elsewhere",
    }


@pytest.mark.slow
def test_the_cohort_is_not_integrated_over_donors_whose_samples_are_stale(study: Path) -> None:
    before = open_study(study).store.current("cohort/uncorrected/domains", UNPARTITIONED)
    set_value(study / "study.toml", "input", "min_genes", 19)
    report = run(study, donors="P01", variants="uncorrected")
    assert report.exit_code == 2
    (line,) = report.bad_input
    assert line == (
        f"cohort: samples of P02 are not up to date; run 'stalign run {study} --donors P02' first, or all donors"
    )
    assert open_study(study).store.current("cohort/uncorrected/domains", UNPARTITIONED) == before
    assert run(study, donors="P02", variants="uncorrected").exit_code == 0
    assert run(study, donors="P01", variants="uncorrected").exit_code == 0


def test_a_misspelt_timm_model_is_found_before_anything_is_read(new_study: Callable[[str], Path]) -> None:
    folder = new_study("sample,donor,path\nP01_S1,P01,P01_S1\n")
    set_value(folder / "study.toml", "encoders", "texture", {"model": "timm:resnet_18"})
    with pytest.raises(SettingsError, match=r"study\.toml, encoders\.texture\.model: timm .* no model 'resnet_18'"):
        run(folder)
    assert not list(open_study(folder).store.artifacts())


# What a failure leaves standing


@pytest.mark.slow
def test_a_variant_that_fails_in_the_cohort_keeps_no_other_from_tables(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    monkeypatch.setattr(assets, "materialise", failing_at(("cohort/harmony/domains", UNPARTITIONED)))
    console = Recorder()
    report = bring_up_to_date(Request.parse(study), console)
    assert report.exit_code == 2
    assert report.bad_input == console.faults == ["cohort/harmony/domains: was told to fail"]
    assert {path.stem for path in report.tables} == {
        "domains_donor_uncorrected",
        "domains_donor_harmony",
        "domains_cohort_uncorrected",
    }
    fresh = open_study(study).store.current("cohort/uncorrected/metrics", UNPARTITIONED)
    assert fresh is not None
    told = query(
        study / "metrics.duckdb",
        "select distinct input_key from metrics where scope = 'cohort' and variant = 'uncorrected'",
    )
    assert list(told["input_key"]) == [fresh.manifest.input_key]


@pytest.mark.slow
def test_a_variant_that_fails_in_a_donor_keeps_the_cohort_from_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    monkeypatch.setattr(assets, "materialise", failing_at(("donor/uncorrected/domains", "P01")))
    report = run(study, variants="uncorrected")
    assert report.bad_input == ["donor/uncorrected/domains: was told to fail"]
    assert current_setting(study, "cohort/uncorrected/domains", UNPARTITIONED, "refine_neighbors") == 4
    told = (study / "reports" / "domains_donor_uncorrected.csv").read_text()
    assert "P02_S1" in told and "P01_S1" not in told, "domains of before the change are not told as of now"


@pytest.mark.slow
def test_samples_that_fail_keep_the_cohort_from_being_integrated(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    set_value(study / "study.toml", "input", "min_genes", 19)
    monkeypatch.setattr(assets, "materialise", failing_at(("raw_samples", "P01")))
    report = run(study, variants="uncorrected")
    assert report.bad_input == ["raw_samples: was told to fail"]
    assert current_setting(study, "cohort/uncorrected/domains", UNPARTITIONED, "refine_neighbors") == 6
    assert current_setting(study, "donor/uncorrected/domains", "P02", "refine_neighbors") == 4


@pytest.mark.slow
def test_a_number_of_domains_does_not_replace_a_table_of_them(study: Path) -> None:
    settings = study / "study.toml"
    set_value(settings, "domains", "n_domains", {"P01": 2, "P02": 3, "cohort": 3})
    text = settings.read_text()
    with pytest.raises(SettingsError, match=r"--n-domains: would replace the table domains\.n_domains of study\.toml"):
        run(study, n_domains="4")
    assert settings.read_text() == text


# Processes and pools


@pytest.mark.slow
def test_steps_in_processes_of_their_own_are_shown_and_counted(study: Path) -> None:
    set_value(study / "study.toml", "execution", "processes", 2)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    console = Recorder()
    request = Request.parse(study, scopes="donor", donors="P01", variants="uncorrected")
    report = bring_up_to_date(request, console)
    assert report.exit_code == 0, report.lines()
    computed = {(end.asset, end.partition) for end in console.ends if not end.reused}
    assert computed == {("donor/uncorrected/domains", "P01"), ("donor/uncorrected/metrics", "P01")}
    assert report.n_computed == 2
    assert set(console.started) == {end.asset for end in console.ends} | {"metrics_tables", "cohort_report"}
    assert report.n_reused == len(console.ends) - 2 > 0
    assert all(end.seconds > 0 and end.peak_memory_mb > 0 for end in console.ends)
    with open_instance(open_study(study)) as instance:
        (run_of_tables, run_of_donor) = instance.get_runs(limit=2)
    assert run_of_donor.tags["dagster/partition"] == "P01"
    for each in (run_of_tables, run_of_donor):
        assert each.tags[HOST_TAG] == socket.gethostname() and each.is_success


@pytest.mark.slow
def test_another_k_repairs_a_damaged_store_as_any_run_does(study: Path) -> None:
    pointer = study / "store" / "raw_samples" / "P01" / "current.json"
    pointer.write_bytes(pointer.read_bytes()[:20])
    report = run(study, scopes="donor", donors="P01", variants="uncorrected", n_domains="4")
    assert report.success, report.lines()
    domains = open_study(study).store.current("donor/uncorrected/domains", "P01")
    assert domains is not None and domains.table("domains.parquet")["domain"].nunique() == 4
    with pytest.raises(SettingsError, match="n_domains"):
        run(study, scopes="donor", donors="P01", variants="uncorrected", n_domains="100000")


@pytest.mark.slow
def test_a_terminal_that_is_gone_ends_the_command_but_no_step(study: Path) -> None:
    class Gone(Silent):
        def step_started(self, asset: str, partition: str, earlier_seconds: float = 0.0) -> None:
            """Nobody reads any more."""
            raise BrokenPipeError

    set_value(study / "study.toml", "execution", "processes", 2)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    request = Request.parse(study, scopes="donor", donors="P01", variants="uncorrected")
    with pytest.raises(BrokenPipeError):
        bring_up_to_date(request, Gone())
    with open_instance(open_study(study)) as instance:
        assert instance.get_runs(limit=1)[0].is_success


def test_progress_that_steps_of_other_processes_log_is_shown_while_they_are_at_work(tmp_path: Path) -> None:
    console, shown = Recorder(), threading.Event()
    console.step_progress = lambda *told: (console.progress.append(told), shown.set())  # type: ignore[method-assign]
    names = ["cohort/other-one/domains", "cohort/later"]

    @dg.asset(key=names[0].split("/"))
    def first(context) -> None:  # type: ignore[no-untyped-def]
        watcher = Watcher(context.log.info, 0.0)
        watcher.progress("encoding patches of P01: left", 3, 7)
        watcher.progress("encoding patches of P01: left", 4, 7)
        context.log.info("7 of 7 and more")
        assert shown.wait(20)

    @dg.asset(key=names[1].split("/"), deps=[first])
    def later(context) -> None:  # type: ignore[no-untyped-def]
        context.log.info("nothing: 1 of 2")

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        definitions = dg.Definitions(assets=[first, later], executor=dg.in_process_executor)
        job = definitions.resolve_implicit_global_asset_job_def()
        run_id = instance.create_run_for_job(job).run_id
        follower = Follower(instance, run_id, names[:1], console)
        with follower.telling_progress(every_seconds=0.05):
            for event in execute_run_iterator(InMemoryJob(job), instance.get_run_by_id(run_id), instance):
                if not event.is_step_materialization:
                    follower.tell(event)
        follower.tell_progress()
    assert console.started == names[:1]
    assert console.progress == [("cohort/other-one/domains: encoding patches of P01: left", 3, 7)]


@pytest.fixture
def dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


def run_holding_gpu(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
    """A run with this status that took the only slot of pool 'gpu' and never gave it back."""

    @dg.job
    def holding() -> None: ...

    run_id = str(uuid.uuid4())
    tags = {name: run_id if name == RUN_TAG else text for name, text in tags.items()}
    held = instance.create_run_for_job(holding, run_id=run_id, status=status, tags=tags)
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", held.run_id, "step").is_claimed
    return held.run_id


def holders(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.event_log_storage.get_concurrency_info("gpu").active_run_ids)


def test_slots_of_runs_that_are_over_are_freed_and_of_living_ones_kept(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        over = run_holding_gpu(instance, dg.DagsterRunStatus.FAILURE, {})
        assert holders(instance) == {over}
        free_dead_slots(instance)
        assert holders(instance) == set()
        of_server = run_holding_gpu(instance, dg.DagsterRunStatus.STARTED, {})
        free_dead_slots(instance)
        assert holders(instance) == {of_server}, "a run whose process is not known is left alone"


@pytest.mark.parametrize(
    ("changes", "lives"),
    [
        ({}, True),
        ({START_TAG: "another boot 1"}, False),
        ({START_TAG: "another boot 1", HOST_TAG: "another machine"}, True),
    ],
    ids=["living", "its number is another process's now", "of another machine"],
)
def test_a_process_lives_by_its_number_and_its_start(tmp_path: Path, changes: dict[str, str], lives: bool) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        held = run_holding_gpu(instance, dg.DagsterRunStatus.STARTED, {**own_tags("this"), **changes})
        free_dead_slots(instance)
        assert holders(instance) == ({held} if lives else set())
        found = instance.get_run_by_id(held)
        assert found is not None and found.is_finished is not lives


def test_a_run_that_tells_no_start_lives_while_its_number_does(tmp_path: Path) -> None:
    tags = {name: text for name, text in own_tags("this").items() if name != START_TAG}
    assert len(tags) == 3
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        held = run_holding_gpu(instance, dg.DagsterRunStatus.STARTED, tags)
        free_dead_slots(instance)
        assert holders(instance) == {held}


def test_a_run_that_waits_says_for_whom_and_goes_on_once_the_holder_has_died(tmp_path: Path, dead_process: str) -> None:
    said = threading.Event()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: dead_process}
        dead = run_holding_gpu(instance, dg.DagsterRunStatus.STARTED, tags)
        storage = instance.event_log_storage
        assert not storage.claim_concurrency_slot("gpu", "mine", "step").is_claimed
        with telling_of_waits(instance, "mine", say, every_seconds=0.05):
            assert said.wait(20)
        assert lines == [
            f"waiting for pool 'gpu', held by run {dead[:8]} (process {dead_process} on {socket.gethostname()})"
        ]
        assert storage.claim_concurrency_slot("gpu", "mine", "step").is_claimed
        ended = instance.get_run_by_id(dead)
        assert ended is not None and ended.status == dg.DagsterRunStatus.FAILURE


# The report


@pytest.mark.slow
def test_the_report_says_where_results_lie_and_one_place_decides_the_exit_code(finished_study: Path) -> None:
    opened = open_study(finished_study)
    report = Report(opened, finished_study, tables=[finished_study / "reports" / "domains_cohort_harmony.csv"])
    assert report.lines()[1:] == [
        f"report: {finished_study}/reports/cohort.html",
        f"domains: {finished_study}/reports/domains_*.csv (1 tables)",
        f"metrics: {finished_study}/metrics.duckdb, shown by: stalign metrics {finished_study}",
        f"artifacts: {opened.store.base}",
        f"lineage and pictures: stalign ui {finished_study}",
    ]
    assert report.exit_code == 0
    report.donors_left_out = {"P02": "too few spots"}
    assert (report.exit_code, report.success) == (3, True)
    report.bad_input.append("a setting")
    assert report.exit_code == 2
    report.failures.append("a step")
    assert report.exit_code == 1

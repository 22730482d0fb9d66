"""The engine ``dask``: a study on a real scheduler and two worker processes; its limits and faults; a worker killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stalign_assets.cli.main import main
from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.new_study import create_study
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.executors.dask_cluster import await_workers, cluster_of, connected, workers_of
from stalign_assets.platform.executors.dask_start import resources_of_worker, worker_spec
from stalign_assets.platform.executors.tags import DASK_TAG, dask_limits
from stalign_assets.reporting import Silent
from stalign_assets.runs import faults_of_run, open_instance
from stalign_assets.study import open_study
from stalign_core.errors import SettingsError
from stalign_core.settings import Settings, parse_settings
from tests.assets.dask_cluster import (
    ADDRESS,
    SLEEPERS,
    DaskCluster,
    await_true,
    execution_on,
    failing_job,
    sleepers_job,
)
from tests.studies import TINY_SETTINGS, run, two_donor_sheet

pytestmark = pytest.mark.slow

GPU_WORKER, WRITER = "with_gpu", "with_writer"
OF_GPU_POOL = ("morphology_embeddings__", "aestetik_model")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and two workers, of which one offers a GPU and the other the writer."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    os.environ[ADDRESS] = cluster.address
    cluster.add(GPU_WORKER, {"gpu": 1})
    cluster.add(WRITER, {"writer": 1})
    yield cluster
    del os.environ[ADDRESS]
    cluster.close()


def study_on(folder: Path, data: Path, address: str, **dask: object) -> Path:
    """A new study of two donors whose steps a cluster takes."""
    execution = {"engine": "dask", "dask": {"address": address, "connect_seconds": 20, "worker_seconds": 60, **dask}}
    create_study(folder, two_donor_sheet(data), parse_settings({**TINY_SETTINGS, "execution": execution}))
    return folder


def data_versions(study: Path) -> dict[tuple[str, str], str]:
    """Content hash of every artifact in force."""
    store = open_study(study).store
    return {
        (artifact.manifest.asset, artifact.manifest.partition): artifact.manifest.data_version
        for artifact in store.in_force()
    }


def times_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, tuple[float, float]]:
    """When each step of a run began and ended, as the event log has it."""
    stats = instance.get_run_step_stats(run_id)
    return {each.step_key: (each.start_time, each.end_time) for each in stats if each.start_time and each.end_time}


def overlaps(times: list[tuple[float, float]]) -> bool:
    """Whether two of these were at work at once."""
    return any(first[0] < second[1] and second[0] < first[1] for first, second in combinations(times, 2))


class Listening(Silent):
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_said(self, line: str) -> None:
        self.lines.append(line)


def test_pools_hold_across_workers_and_other_steps_run_beside(cluster: DaskCluster, tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        result = dg.execute_job(dg.reconstructable(sleepers_job), instance)
        assert result.success
        times = times_of(instance, result.run_id)
        again = dg.execute_job(dg.reconstructable(sleepers_job), instance)
        times_again = times_of(instance, again.run_id)
    assert sorted(times) == sorted(SLEEPERS)
    for pool in ("gpu", "duckdb"):
        assert not overlaps([times[name] for name, of in SLEEPERS.items() if of == pool]), pool
    assert overlaps(list(times.values()))
    # dagster-dask's names of tasks would give a second run the results of the first.
    assert min(begin for begin, _ in times_again.values()) > max(end for _, end in times.values())


def test_what_rests_on_a_failed_step_is_not_run(cluster: DaskCluster, tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        result = dg.execute_job(dg.reconstructable(failing_job), instance)
        stats = {each.step_key: each.status for each in instance.get_run_step_stats(result.run_id)}
    assert not result.success
    assert {step: status and status.value for step, status in stats.items()} == {
        "broken": "FAILURE",
        "beside": "SUCCESS",
    }


def test_a_scheduler_that_dies_ends_the_run_with_a_line_for_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = DaskCluster(tmp_path)
    try:
        monkeypatch.setenv(ADDRESS, own.address)
        own.add("only", {"gpu": 1})
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:

            def kill_at_work() -> None:
                await_true(lambda: _has_begun(instance, ""))
                own.kill_scheduler()

            killer = threading.Thread(target=kill_at_work)
            killer.start()
            result = dg.execute_job(dg.reconstructable(sleepers_job), instance, raise_on_error=False)
            killer.join()
            lines = [fault.line for fault in faults_of_run(instance, result.run_id)]
    finally:
        own.close()
    assert not result.success
    assert any("duckdb_0: the Dask scheduler dropped it" in line for line in lines)
    assert all("run again once the scheduler is back" in line and "\n" not in line for line in lines)


def test_a_cluster_makes_what_this_machine_makes_and_then_nothing_anew(
    cluster: DaskCluster, finished_study: Path, tiny_data: Path, tmp_path: Path
) -> None:
    study = study_on(tmp_path / "study", tiny_data, cluster.address)
    report = run(study, scopes="cohort")
    assert report.success, report.lines()
    _check_same(study, finished_study)
    with open_instance(open_study(study)) as instance:
        processes: dict[str, set[int | None]] = {}
        for record in instance.get_run_records():
            for entry in instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS):
                event = entry.get_dagster_event()
                processes.setdefault(str(event.step_key), set()).add(event.pid)
    with_gpu, writer = cluster.workers[GPU_WORKER].pid, cluster.workers[WRITER].pid
    of_gpu = {step: found for step, found in processes.items() if any(name in step for name in OF_GPU_POOL)}
    of_gpu = {step: found for step, found in of_gpu.items() if not step.endswith("no_missing_values")}
    assert len(of_gpu) == 3
    assert all(found == {with_gpu} for found in of_gpu.values()), of_gpu
    assert processes["metrics_tables"] == {writer}
    assert set().union(*processes.values()) == {with_gpu, writer}
    again = run(study, scopes="cohort")
    assert (again.exit_code, again.n_computed) == (0, 0)


def test_a_worker_killed_in_mid_run_is_told_in_one_line_and_a_rerun_converges(
    cluster: DaskCluster, finished_study: Path, tiny_data: Path, tmp_path: Path
) -> None:
    study = study_on(tmp_path / "study", tiny_data, cluster.address, worker_seconds=2)

    # Opened before the run begins: two that make the tables of a new study at once spoil them.
    with open_instance(open_study(study)) as instance:

        def kill_at_work() -> None:
            await_true(lambda: _has_begun(instance, "cohort__harmony__aestetik_model"), seconds=400)
            cluster.kill(GPU_WORKER)

        killer = threading.Thread(target=kill_at_work)
        killer.start()
        console = Listening()
        report = bring_up_to_date(Request.parse(study, scopes="cohort", variants="harmony"), console)
        killer.join()
    assert "waiting for a Dask worker that offers gpu, for cohort__harmony__aestetik_model" in console.lines
    assert report.exit_code == 1
    (line,) = {line for line in report.failures if "harmony__aestetik_model" in line}
    assert "no Dask worker has offered gpu for 2 s; start one with: dask worker ADDRESS" in line
    assert "\n" not in line

    cluster.add(GPU_WORKER, {"gpu": 1})
    await_true(lambda: _offered(cluster.address, "gpu"))
    again = run(study, scopes="cohort", variants="harmony")
    assert again.success, again.lines()
    _check_same(study, finished_study)


def test_a_scheduler_that_does_not_answer_is_one_line(
    tiny_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_on(tmp_path / "study", tiny_data, "tcp://127.0.0.1:1", connect_seconds=1)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(study)])
    assert ended.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error:")] == lines[-1:]
    assert "no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s" in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "resources", "threads", "words"),
    [
        ("second_gpu", {"gpu": 1}, 1, "the workers together offer gpu=2, but execution.gpu_limit is 1"),
        ("second_writer", {"writer": 1}, 1, "the workers together offer writer=2, but metrics.duckdb has one writer"),
        ("threads", {}, 2, "has 2 threads"),
    ],
)
def test_workers_that_would_break_a_limit_are_refused(
    cluster: DaskCluster,
    tiny_data: Path,
    tmp_path: Path,
    name: str,
    resources: dict[str, int],
    threads: int,
    words: str,
) -> None:
    study = study_on(tmp_path / "study", tiny_data, cluster.address)
    cluster.add(name, resources, threads=threads)
    try:
        await_true(lambda: name in _names(cluster.address))
        with pytest.raises(SettingsError, match=words):
            run(study)
    finally:
        cluster.kill(name)
        await_true(lambda: name not in _names(cluster.address))


def test_a_cluster_without_a_gpu_worker_says_how_to_start_one(tiny_data: Path, tmp_path: Path) -> None:
    cluster = DaskCluster(tmp_path)
    try:
        study = study_on(tmp_path / "study", tiny_data, cluster.address, worker_seconds=1)
        with pytest.raises(
            SettingsError, match="none of 0 workers offers gpu or writer after 1 s; start one with: dask"
        ):
            run(study)
    finally:
        cluster.close()


def test_tags_follow_the_pools_and_only_for_this_engine() -> None:
    settings = Settings().model_copy(update={"execution": execution_on("tcp://127.0.0.1:1")})
    tagged = tags_of_steps(settings)
    assert tagged["metrics_tables"] == {DASK_TAG: '{"writer": 1}'}
    assert tagged["cohort__harmony__aestetik_model"] == {DASK_TAG: '{"gpu": 1}'}
    assert tagged["cohort__scvi__corrected_features"] == {DASK_TAG: '{"gpu": 1}'}
    assert tagged["cohort__harmony__corrected_features"] == {}
    assert not any(tags_of_steps(Settings()).values())


def tags_of_steps(settings: Settings) -> dict[str, dict[str, str]]:
    """Tags that concern an engine, by step."""
    job = build_definitions(settings=settings).resolve_implicit_global_asset_job_def()
    return {
        node.name: {
            name: value for name, value in node.tags.items() if name.startswith(("dagster-dask", "dagster-k8s"))
        }
        for node in job.nodes
        if "no_missing" not in node.name
    }


@pytest.mark.parametrize(("workers", "gpu_limit"), [(1, 1), (2, 1), (5, 3)])
def test_workers_that_are_started_offer_the_limits_together(workers: int, gpu_limit: int) -> None:
    table = {"engine": "dask", "gpu_limit": gpu_limit, "dask": {"cluster": "slurm", "workers": workers}}
    execution = parse_settings({"execution": table}).execution
    offered = [resources_of_worker(execution, index) for index in range(workers)]
    assert {name: sum(each.get(name, 0) for each in offered) for name in ("gpu", "writer")} == dask_limits(execution)
    assert dask_limits(execution) == {"gpu": gpu_limit, "writer": 1}
    assert max(each.get("gpu", 0) for each in offered) == 1


def test_settings_of_gpu_workers_reach_them_alone() -> None:
    table = {
        "engine": "dask",
        "dask": {"cluster": "slurm", "workers": 2, "gpu_settings": {"job_extra_directives": ["--gres=gpu:1"]}},
    }
    execution = parse_settings({"execution": table}).execution
    base: dict[str, Any] = {"cls": object, "options": {"memory": "8GB", "worker_extra_args": ["--preload", "x"]}}
    first, last = (worker_spec("slurm", base, execution, index)["options"] for index in range(2))
    assert first == {
        "memory": "8GB",
        "job_extra_directives": ["--gres=gpu:1"],
        "worker_extra_args": ["--preload", "x", "--resources", "gpu=1"],
    }
    assert last == {"memory": "8GB", "worker_extra_args": ["--preload", "x", "--resources", "writer=1"]}


SBATCH = """\
#!/bin/sh
script="$STALIGN_TEST_JOBS/$$.sh"
cp "$1" "$script"
setsid sh "$script" > "$script.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """\
#!/bin/sh
kill -9 -- "-$1"
echo "$1" >> "$STALIGN_TEST_JOBS/cancelled"
"""


def test_slurm_jobs_offer_the_limits_and_end_with_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, jobs = tmp_path / "commands", tmp_path / "jobs"
    jobs.mkdir()
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("STALIGN_TEST_JOBS", str(jobs))
    dask = {
        "cluster": "slurm",
        "workers": 3,
        "worker_seconds": 120,
        "settings": {"queue": "normal", "memory": "2GB", "job_cpu": 4, "interface": "lo", "log_directory": str(jobs)},
        "gpu_settings": {"queue": "gpu", "job_extra_directives": ["--gres=gpu:1"]},
    }
    execution = parse_settings({"execution": {"engine": "dask", "gpu_limit": 2, "dask": dask}}).execution
    with cluster_of(execution) as address, connected(address, 20) as client:
        await_workers(client, execution, print)
        await_true(lambda: len(workers_of(client)) == 3)
        workers = workers_of(client).values()
        assert sorted(str(worker["resources"]) for worker in workers) == [
            "{'gpu': 1.0}",
            "{'gpu': 1.0}",
            "{'writer': 1.0}",
        ]
        assert {worker["nthreads"] for worker in workers} == {1}
    scripts = [path.read_text() for path in jobs.glob("*.sh")]
    assert len(scripts) == 3
    for script in scripts:
        with_gpu = "--resources gpu=1" in script
        assert ("#SBATCH --gres=gpu:1" in script) == with_gpu
        assert ("#SBATCH -p gpu" in script, "#SBATCH -p normal" in script) == (with_gpu, not with_gpu)
        assert "#SBATCH --cpus-per-task=4" in script
    await_true(lambda: len((jobs / "cancelled").read_text().split()) == 3)


def test_a_queue_that_refuses_a_job_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'Invalid account' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    table = {"engine": "dask", "dask": {"cluster": "slurm", "settings": {"memory": "1GB", "interface": "lo"}}}
    with (
        pytest.raises(SettingsError, match=r"a slurm cluster cannot be started .*Invalid account") as refused,
        cluster_of(parse_settings({"execution": table}).execution),
    ):
        pass
    assert "\n" not in refused.value.line


def test_processes_of_this_machine_offer_the_limits() -> None:
    table = {"engine": "dask", "dask": {"cluster": "local", "workers": 2, "worker_seconds": 120}}
    execution = parse_settings({"execution": table}).execution
    with cluster_of(execution) as address, connected(address, 20) as client:
        assert address.startswith("tcp://127.0.0.1:")
        await_workers(client, execution, print)
        found = [worker["resources"] for worker in workers_of(client).values()]
    assert sorted(found, key=str) == [{"gpu": 1.0}, {"writer": 1.0}]


def test_hosts_of_ssh_take_the_workers_in_turn() -> None:
    table = {
        "engine": "dask",
        "dask": {"cluster": "ssh", "workers": 3, "settings": {"hosts": ["head", "one", "two"]}},
    }
    execution = parse_settings({"execution": table}).execution
    specs = [worker_spec("ssh", {"cls": object, "options": {}}, execution, index)["options"] for index in range(3)]
    assert [spec["address"] for spec in specs] == ["one", "two", "one"]
    assert specs[0]["kwargs"] == {"nthreads": 1, "resources": {"gpu": 1}}
    assert specs[2]["kwargs"] == {"nthreads": 1, "resources": {"writer": 1}}


def _check_same(study: Path, finished: Path) -> None:
    """What the study holds, the cohort's results among it, equals what the finished study holds."""
    found, local = data_versions(study), data_versions(finished)
    assert "cohort/harmony/metrics" in {asset for asset, _ in found}
    assert found == {place: local[place] for place in found}


def _has_begun(instance: dg.DagsterInstance, step: str) -> bool:
    return any(
        step in str(entry.get_dagster_event().step_key)
        for record in instance.get_run_records()
        for entry in instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_START)
    )


def _workers(address: str) -> list[dict[str, Any]]:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return list(client.scheduler_info()["workers"].values())


def _names(address: str) -> set[str]:
    return {worker["name"] for worker in _workers(address)}


def _offered(address: str, resource: str) -> bool:
    return any(resource in worker["resources"] for worker in _workers(address))

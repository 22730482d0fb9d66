"""Starting a Dask cluster whose workers offer what the settings allow, and ending it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final

from stalign_assets.platform.executors.tags import dask_limits
from stalign_core.errors import SettingsError
from stalign_core.settings import ExecutionSettings

_CLASSES: Final = {
    "local": ("distributed", "LocalCluster"),
    "ssh": ("distributed", "SSHCluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
}

_WITHOUT_DASHBOARD: Final = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Patients' data: task names and logs are served to nobody unless the settings ask for it."""

_FORCED: Final[Mapping[str, Mapping[str, Any]]] = {
    "local": {"n_workers": 0, "threads_per_worker": 1, "processes": True},
    "ssh": {},
    "queue": {"n_workers": 0, "cores": 1, "processes": 1},
}
"""Dagster is not safe for threads, so a worker has one, whatever CPUs its job books."""

_OWN: Final = ("n_workers", "cores", "processes", "threads_per_worker", "resources", "asynchronous", "worker_options")


@contextmanager
def started_cluster(execution: ExecutionSettings, where: str) -> Iterator[str]:
    """The address of a cluster's scheduler; the cluster ends with the context.

    The workers are submitted when the address is given, and may come later. The first `gpu_limit` of them offer a GPU
    each and the last one the writer, so that the workers together offer the limits of the pools.

    Raises
    ------
    SettingsError
        If the cluster cannot be started with its settings.
    """
    dask = execution.dask
    kind = str(dask.cluster)
    for name in (*dask.settings, *dask.gpu_settings):
        if name in _OWN:
            raise SettingsError(
                f"{where}.settings.{name}",
                "is set by stalign: a worker takes one step at a time",
                remedy="use execution.dask.workers for their number, and the queue's own setting for CPUs (job_cpu, "
                "resource_spec, ncpus)",
            )
    try:
        cluster = _class_of(kind)(**_arguments(kind, dask.settings))
    except (TypeError, ValueError, KeyError, ImportError, OSError, RuntimeError) as error:
        raise _refused(where, kind, error) from None
    try:
        _submit_workers(cluster, kind, execution, where)
        yield str(cluster.scheduler_address)
    finally:
        # Dask's own end takes it for a fault of the program when a worker was never accepted.
        with suppress(AssertionError):
            cluster.close()


def _submit_workers(cluster: Any, kind: str, execution: ExecutionSettings, where: str) -> None:
    _check_command(cluster, kind, where)
    base = _base_spec(cluster, kind, execution.dask.settings)
    for index in range(execution.dask.workers):
        cluster.worker_spec[f"stalign-{index}"] = worker_spec(kind, base, execution, index)
    try:
        cluster.sync(_settled, cluster)
    except Exception as error:  # whatever a queue's command or a worker's constructor says
        raise _refused(where, kind, error) from None


def worker_spec(kind: str, base: Mapping[str, Any], execution: ExecutionSettings, index: int) -> dict[str, Any]:
    """How the worker with this number is made: as `base` says, with what it offers."""
    offered = resources_of_worker(execution, index)
    options = dict(base["options"])
    if "gpu" in offered:
        options |= execution.dask.gpu_settings
    if kind == "local":
        options["resources"] = offered
    elif kind == "ssh":
        hosts = execution.dask.settings.get("hosts", [])[1:]
        options["address"] = hosts[index % len(hosts)]
        options["kwargs"] = {"nthreads": 1, "resources": offered}
    elif offered:
        words = ",".join(f"{name}={amount}" for name, amount in offered.items())
        options["worker_extra_args"] = [*(options.get("worker_extra_args") or []), "--resources", words]
    return {**base, "options": options}


def resources_of_worker(execution: ExecutionSettings, index: int) -> dict[str, int]:
    """What the worker with this number offers: a GPU if it is among the first, the writer if it is the last."""
    limits = dask_limits(execution)
    offered = {"gpu": 1} if index < limits["gpu"] else {}
    return offered | ({"writer": limits["writer"]} if index == execution.dask.workers - 1 else {})


def _class_of(kind: str) -> Any:
    module, name = _CLASSES[kind]
    return getattr(import_module(module), name)


def _arguments(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "local":
        return {"dashboard_address": "127.0.0.1:0", "memory_limit": 0, **settings, **_FORCED[kind]}
    scheduler = {**_WITHOUT_DASHBOARD, **settings.get("scheduler_options", {})}
    if kind == "ssh":
        # Its workers are started one by one, for each offers something else.
        return {**settings, "hosts": settings.get("hosts", [])[:1], "scheduler_options": scheduler}
    return {**settings, "scheduler_options": scheduler, **_FORCED["queue"]}


def _base_spec(cluster: Any, kind: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind != "ssh":
        spec: Mapping[str, Any] = cluster.new_spec
        return spec
    from distributed.deploy.ssh import Worker

    options = {
        "connect_options": settings.get("connect_options", {}),
        "worker_class": settings.get("worker_class", "distributed.Nanny"),
        "remote_python": settings.get("remote_python"),
    }
    return {"cls": Worker, "options": options}


def _check_command(cluster: Any, kind: str, where: str) -> None:
    """A queue's command that is missing would show only as workers that never come."""
    words = getattr(getattr(cluster, "job_cls", None), "submit_command", "").split()
    if words and shutil.which(words[0]) is None:
        raise SettingsError(
            f"{where}.cluster",
            f"is '{kind}', but this machine has no command '{words[0]}'",
            remedy="start stalign on a machine that may submit jobs",
        )


async def _settled(cluster: Any) -> None:
    await cluster


def _refused(where: str, kind: str, error: Exception) -> SettingsError:
    return SettingsError(
        where, f"a {kind} cluster cannot be started ({error})", remedy="correct execution.dask.settings"
    )

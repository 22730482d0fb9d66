"""Reaching a Dask cluster, and whether its workers can take a study's steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.platform.executors.dask_start import started_cluster
from stalign_assets.platform.executors.tags import dask_limits
from stalign_assets.study import SETTINGS_FILE
from stalign_core.errors import SettingsError, StudyError
from stalign_core.settings import ExecutionSettings

if TYPE_CHECKING:
    from distributed import Client

WHERE: Final = "execution.dask"

_LOOK_EVERY_SECONDS: Final = 0.5


@contextmanager
def cluster_of(execution: ExecutionSettings) -> Iterator[str]:
    """The address of the running cluster that the settings name, or of one that lasts as long as the context.

    Raises
    ------
    SettingsError
        If it cannot be started.
    """
    if execution.dask.address is not None:
        yield execution.dask.address
        return
    with started_cluster(execution, WHERE) as address:
        yield address


@contextmanager
def connected(address: str, seconds: int) -> Iterator[Client]:
    """A client of the scheduler at `address`.

    Raises
    ------
    SettingsError
        If no scheduler answers there within `seconds`.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=seconds, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SettingsError(
            f"{WHERE}.address",
            f"no Dask scheduler answers at {address} within {seconds} s ({type(error).__name__})",
            remedy="start it with 'dask scheduler', or correct the address",
        ) from None
    with _without_tracebacks(), client:
        yield client


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Let Dask's client print no traceback of a scheduler that is gone: each step says so in a line."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def await_workers(client: Client, execution: ExecutionSettings, say: Callable[[str], None]) -> None:
    """Wait until the workers offer all that steps ask for.

    Raises
    ------
    SettingsError
        If they do not in time, or if `check_offers` refuses them.
    """
    over = time.monotonic() + execution.dask.worker_seconds
    limits = dask_limits(execution)
    told = False
    while True:
        workers = workers_of(client)
        missing = [name for name in limits if not any(offers(worker, {name: 1}) for worker in workers.values())]
        if not missing:
            break
        if time.monotonic() >= over:
            raise _no_worker(missing, len(workers), execution)
        if not told:
            say(f"waiting for Dask workers that offer {' and '.join(missing)}; {len(workers)} have come")
            told = True
        time.sleep(_LOOK_EVERY_SECONDS)
    check_offers(workers, execution)


def check_offers(workers: Mapping[str, Mapping[str, Any]], execution: ExecutionSettings) -> None:
    """Check that the workers that have come keep the limits of the pools, and take one step at a time.

    Raises
    ------
    SettingsError
        If they do not.
    """
    _check_limits(workers, dask_limits(execution))
    _check_threads(workers)


def check_workers(client: Client, folder: Path) -> None:
    """Check that every worker runs this version of stalign and sees the study.

    Raises
    ------
    StudyError
        Naming the first worker that does not.
    """
    answers: Mapping[str, Any] = client.run(_look_around, str(folder), on_error="return")
    own = version("stalign")
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            raise StudyError(
                f"Dask worker {worker}", f"cannot use stalign ({answer})", remedy=f"install stalign {own} where it runs"
            )
        theirs, sees_study = answer
        if theirs != own:
            raise StudyError(f"Dask worker {worker}", f"runs stalign {theirs}", expected=f"{own}, as here")
        if not sees_study:
            raise StudyError(
                f"Dask worker {worker}",
                f"does not see {folder}",
                expected="the study on a filesystem that all workers share, under the same path",
            )


def workers_of(client: Client) -> Mapping[str, Mapping[str, Any]]:
    """What the scheduler knows of each worker, by its address."""
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info()["workers"]
    return workers


def offers(worker: Mapping[str, Any], needed: Mapping[str, float]) -> bool:
    """Whether a worker has, busy or idle, what a step asks for."""
    return all(worker["resources"].get(name, 0) >= amount for name, amount in needed.items())


def start_words(names: list[str]) -> str:
    """How a user starts a worker that offers these resources."""
    offered = " ".join(f"{name}=1" for name in names)
    return f"dask worker ADDRESS --nthreads 1 --resources '{offered}'"


def _look_around(folder: str) -> tuple[str, bool]:
    """On a worker: which stalign it has, and whether it sees the study."""
    return version("stalign"), (Path(folder) / SETTINGS_FILE).is_file()


def _no_worker(missing: list[str], n_workers: int, execution: ExecutionSettings) -> SettingsError:
    remedy = (
        f"start one with: {start_words(missing)}"
        if execution.dask.address
        else f"look at the queue, and raise {WHERE}.worker_seconds where it is long"
    )
    return SettingsError(
        WHERE,
        f"none of {n_workers} workers offers {' or '.join(missing)} after {execution.dask.worker_seconds} s",
        remedy=remedy,
    )


def _check_limits(workers: Mapping[str, Mapping[str, Any]], limits: Mapping[str, int]) -> None:
    for name, limit in limits.items():
        offered = sum(worker["resources"].get(name, 0) for worker in workers.values())
        if offered > limit:
            setting = "execution.gpu_limit is" if name == "gpu" else "metrics.duckdb has one writer, that is"
            raise SettingsError(
                WHERE,
                f"the workers together offer {name}={offered:g}, but {setting} {limit}",
                expected=f"{name}={limit} in all, for that is how many such steps may run at once",
            )


def _check_threads(workers: Mapping[str, Mapping[str, Any]]) -> None:
    for address, worker in workers.items():
        if worker["nthreads"] != 1:
            raise SettingsError(
                f"Dask worker {address}",
                f"has {worker['nthreads']} threads, and would take as many steps at once in one process",
                expected="one, as 'dask worker --nthreads 1' gives; execution.threads says how many a step uses",
            )

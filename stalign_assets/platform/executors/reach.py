"""Reaching the cluster of a study once for all runs of a command, and not before one needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache

from stalign_assets.platform.executors.assembly import check_installed
from stalign_assets.study import Study


@contextmanager
def reaching_cluster(study: Study, say: Callable[[str], None]) -> Iterator[Callable[[], Study]]:
    """A function that gives the study as its runs are to be started.

    For the engine ``dask`` its first call reaches, or starts, the cluster and checks the workers; the study then names
    the scheduler's address, so that all runs share one cluster. For other engines the study is given as it is.

    Raises
    ------
    StalignError
        From the function, if the cluster cannot carry out the study's steps.
    """
    if study.settings.execution.engine != "dask":
        yield lambda: study
        return
    with ExitStack() as stack:
        yield cache(lambda: _on_dask(study, say, stack))


def _on_dask(study: Study, say: Callable[[str], None], stack: ExitStack) -> Study:
    execution = study.settings.execution
    check_installed(execution.engine)
    from stalign_assets.platform.executors.dask_cluster import await_workers, check_workers, cluster_of, connected

    address = stack.enter_context(cluster_of(execution))
    with connected(address, execution.dask.connect_seconds) as client:
        await_workers(client, execution, say)
        check_workers(client, study.folder)
    reached = execution.model_copy(
        update={"dask": execution.dask.model_copy(update={"address": address, "cluster": None})}
    )
    return replace(study, settings=study.settings.model_copy(update={"execution": reached}))

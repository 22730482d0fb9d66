"""The executor of the engine that the settings choose; an engine's packages are imported only when it is chosen."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import dagster as dg

from stalign_assets.platform.executors.local import local_executor
from stalign_assets.platform.executors.naming import naming_process
from stalign_core.errors import SettingsError
from stalign_core.settings import ExecutionSettings

_PACKAGES: Final = {
    "dask": ("dagster_dask", "dask_jobqueue", "distributed"),
    "kubernetes": ("dagster_k8s",),
}
"""What the extra of the engine's name installs."""


def executor_of(execution: ExecutionSettings) -> dg.ExecutorDefinition:
    """The executor of all runs of a study, which names in a run's tags the process that carries it out.

    Raises
    ------
    SettingsError
        If the engine's packages are not installed.
    """
    return naming_process(_of_engine(execution))


def _of_engine(execution: ExecutionSettings) -> dg.ExecutorDefinition:
    check_installed(execution.engine)
    if execution.engine == "dask":
        from stalign_assets.platform.executors.dask import dask_executor_of

        return dask_executor_of(execution)
    if execution.engine == "kubernetes":
        from stalign_assets.platform.executors.kubernetes import kubernetes_executor

        return kubernetes_executor(execution.kubernetes)
    return local_executor(execution.processes)


def instance_overrides(execution: ExecutionSettings) -> dict[str, Any]:
    """What the engine needs of a Dagster instance beside its ``dagster.yaml``.

    Raises
    ------
    SettingsError
        If the engine's packages are not installed, or its settings cannot stand.
    """
    if execution.engine != "kubernetes":
        return {}
    check_installed(execution.engine)
    from stalign_assets.platform.executors.kubernetes import launcher_of

    return launcher_of(execution.kubernetes)


def check_installed(engine: str) -> None:
    """Refuse an engine whose packages are missing, in one line.

    Raises
    ------
    SettingsError
        Naming the extra that installs them.
    """
    missing = [package for package in _PACKAGES.get(engine, ()) if find_spec(package) is None]
    if missing:
        raise SettingsError(
            "execution.engine",
            f"is '{engine}', but {', '.join(missing)} cannot be imported",
            remedy=f"install the engine: pip install 'stalign[{engine}]'",
        )

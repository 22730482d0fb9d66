"""The engine ``kubernetes``: dagster-k8s, a job of the cluster per step. Dagster's pools hold there as they do here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher, k8s_job_executor

from stalign_core.errors import SettingsError
from stalign_core.settings import KubernetesSettings

_WHERE: Final = "execution.kubernetes"
_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
"""Variable that every container of a cluster has."""


def kubernetes_executor(settings: KubernetesSettings) -> dg.ExecutorDefinition:
    """The executor that makes a job of each step.

    Raises
    ------
    SettingsError
        If dagster-k8s does not accept the settings.
    """
    config = executor_config(settings)
    _check(k8s_job_executor.config_schema.config_type, config)
    return k8s_job_executor.configured(config)


def executor_config(settings: KubernetesSettings) -> dict[str, Any]:
    """What dagster-k8s' executor is told.

    Raises
    ------
    SettingsError
        If the table `job` holds what has a setting of its own.
    """
    own = {
        "job_image": settings.image,
        "job_namespace": settings.namespace,
        "service_account_name": settings.service_account,
        "max_concurrent": settings.max_concurrent,
        "load_incluster_config": _IN_CLUSTER in os.environ,
    }
    for name in settings.job:
        if name in own:
            raise SettingsError(f"{_WHERE}.job.{name}", f"is set by a setting of [{_WHERE}] itself", remedy="remove it")
    return {**settings.job, **own}


def launcher_of(settings: KubernetesSettings) -> dict[str, Any]:
    """The run launcher that dagster-k8s' executor takes the config map and the place of DAGSTER_HOME from.

    Runs of ``stalign run`` are not launched: they are carried out in its own process, and only their steps are jobs.
    """
    config = {
        "instance_config_map": settings.instance_config_map,
        "service_account_name": settings.service_account,
        "job_namespace": settings.namespace,
        "job_image": settings.image,
        "load_incluster_config": _IN_CLUSTER in os.environ,
        "kubeconfig_file": settings.job.get("kubeconfig_file"),
    }
    _check(K8sRunLauncher.config_type(), config)  # type: ignore[no-untyped-call]
    return {"run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}}


def _check(kind: Any, config: Mapping[str, Any]) -> None:
    found = process_config(kind, config)
    if not found.success:
        messages = "; ".join(error.message for error in found.errors or ())
        raise SettingsError(
            _WHERE,
            f"is not what dagster-k8s takes: {messages}",
            remedy="correct what it names in [execution.kubernetes.job]",
        )

"""Settings of how assets are run: engine, limits, what a changed cohort costs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from stalign_core.errors import SettingsError
from stalign_core.settings.section import Section

DaskCluster = Literal["local", "slurm", "pbs", "lsf", "sge", "ssh"]


class DaskSettings(Section):
    """Where the engine ``dask`` finds its workers: a cluster that runs already, or one started for a command."""

    address: str | None = Field(None, description="scheduler of a running cluster, as tcp://host:8786; or give cluster")
    cluster: DaskCluster | None = Field(
        None, description="kind of cluster to start: slurm, pbs, lsf, sge, ssh, or local for processes of this machine"
    )
    workers: PositiveInt = Field(2, description="workers to start; a worker takes one step at a time")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of dask-jobqueue's class: queue, account, walltime, memory, job_cpu ...",
    )
    gpu_settings: dict[str, Any] = Field(
        default_factory=dict, description="those of the workers that offer a GPU, where they differ"
    )
    connect_seconds: PositiveInt = Field(30, description="how long to try to reach the scheduler")
    worker_seconds: PositiveInt = Field(
        600, description="how long to wait for a worker that offers what a step needs, also after one was lost"
    )

    @field_validator("address", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None

    @field_validator("cluster", mode="before")
    @classmethod
    def _no_cluster_if_empty(cls, text: Any) -> Any:
        return None if text == "" else text


class KubernetesSettings(Section):
    """What the engine ``kubernetes`` asks for: a job per step."""

    image: str | None = Field(None, description="container image that holds stalign, with its tag")
    namespace: str = Field("default", min_length=1, description="namespace of the jobs")
    service_account: str = Field("dagster", min_length=1, description="service account that may create jobs")
    instance_config_map: str = Field(
        "dagster-instance", min_length=1, description="config map with dagster.yaml, as Dagster's chart makes it"
    )
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="what a node with a GPU offers")
    gpus_per_step: PositiveInt = Field(1, description="GPUs that a step of the pool 'gpu' asks for")
    max_concurrent: PositiveInt = Field(8, description="jobs of a run at once")
    job: dict[str, Any] = Field(
        default_factory=dict,
        description="further settings of dagster-k8s' executor: volumes, volume_mounts, env_secrets, resources ...",
    )

    @field_validator("image", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None


class ExecutionSettings(Section):
    """How the assets are run."""

    engine: Literal["local", "dask", "kubernetes"] = Field(
        "local", description="local: this machine; dask or kubernetes: a cluster, as the sections below say"
    )
    processes: PositiveInt = Field(
        1, description="of engine local: 1: all steps of a run in one process; more: a process per step"
    )
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads of a step's libraries; 0: all cores; AESTETIK and clustering use one",
    )
    gpu_limit: PositiveInt = Field(1, description="steps that may hold the GPU at once (pool 'gpu')")
    folds: int = Field(
        0,
        ge=0,
        description="outer folds of `stalign benchmark` at work at once, each in a process of its own; 0: as many as "
        "cores and free memory allow; on a GPU no more than gpu_limit, on a cluster one",
    )
    dask: DaskSettings = DaskSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()

    @model_validator(mode="after")
    def _engine_is_described(self) -> ExecutionSettings:
        if self.engine == "dask":
            _check_dask(self)
        if self.engine == "kubernetes" and self.kubernetes.image is None:
            raise SettingsError(
                "execution.kubernetes.image",
                "is empty",
                expected="the image that deploy/Dockerfile makes, with its tag",
            )
        return self


class IncrementalSettings(Section):
    """What a changed cohort costs."""

    freeze_bases: bool = Field(
        False,
        description="keep the cohort's gene panel and bases when samples come, change or go: components of the others "
        "stand, and basis_drift says how far the frozen bases are from the cohort",
    )


def _check_dask(execution: ExecutionSettings) -> None:
    """The engine needs one cluster, with as many workers as may hold a GPU at once."""
    dask = execution.dask
    if (dask.address is None) == (dask.cluster is None):
        raise SettingsError(
            "execution.dask",
            "gives neither address nor cluster" if dask.address is None else "gives both address and cluster",
            expected="address, of a running scheduler, or cluster, of a kind to start",
        )
    if dask.cluster is not None and dask.workers < execution.gpu_limit:
        raise SettingsError(
            "execution.dask.workers",
            f"is {dask.workers}, fewer than execution.gpu_limit",
            expected=f"at least {execution.gpu_limit}: a worker offers one GPU",
        )

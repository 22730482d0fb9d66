"""What a step asks its engine for, as tags of its op: the pools' limits, where an engine needs them in its own words.

The engines ``local`` and ``kubernetes`` keep Dagster's pools. dagster-dask ignores them, so there a pool becomes a
resource of the workers, and what all workers offer together is the pool's limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stalign_assets.pools import DUCKDB_POOL, GPU_POOL
from stalign_core.settings import ExecutionSettings

DASK_TAG: Final = "dagster-dask/resource_requirements"
KUBERNETES_TAG: Final = "dagster-k8s/config"

DASK_RESOURCES: Final[Mapping[str, str]] = {GPU_POOL: "gpu", DUCKDB_POOL: "writer"}
"""The Dask resource that stands for a pool."""


def op_tags_of(pool: str | None, execution: ExecutionSettings) -> dict[str, Any]:
    """Tags of a step that belongs to `pool`."""
    if execution.engine == "dask" and pool is not None and pool in DASK_RESOURCES:
        return {DASK_TAG: json.dumps({DASK_RESOURCES[pool]: 1})}
    if execution.engine == "kubernetes" and pool == GPU_POOL:
        kubernetes = execution.kubernetes
        limits = {kubernetes.gpu_resource: str(kubernetes.gpus_per_step)}
        return {KUBERNETES_TAG: {"container_config": {"resources": {"limits": limits}}}}
    return {}


def dask_limits(execution: ExecutionSettings) -> dict[str, int]:
    """How much of each resource all Dask workers together may offer: the limits of the pools."""
    return {DASK_RESOURCES[GPU_POOL]: execution.gpu_limit, DASK_RESOURCES[DUCKDB_POOL]: 1}

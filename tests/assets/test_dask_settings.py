"""Settings of the engine ``dask`` that cannot stand: one line each."""

from __future__ import annotations

from typing import Any

import pytest

from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.executors import assembly
from stalign_assets.platform.executors.dask_start import started_cluster
from stalign_core.errors import SettingsError
from stalign_core.settings import Settings, parse_settings
from tests.assets.dask_cluster import (
    execution_on,
)

pytestmark = pytest.mark.slow


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'stalign\[dask\]'"):
        build_definitions(settings=Settings().model_copy(update={"execution": execution_on("tcp://127.0.0.1:1")}))


@pytest.mark.parametrize(
    ("execution", "words"),
    [
        ({"engine": "spark"}, "execution.engine: is 'spark'; expected 'local', 'dask' or 'kubernetes'"),
        ({"engine": "dask"}, "execution.dask: gives neither address nor cluster"),
        (
            {"engine": "dask", "dask": {"address": "tcp://a:1", "cluster": "slurm"}},
            "execution.dask: gives both address and cluster",
        ),
        (
            {"engine": "dask", "gpu_limit": 3, "dask": {"cluster": "slurm"}},
            "execution.dask.workers: is 2, fewer than execution.gpu_limit",
        ),
    ],
)
def test_settings_that_cannot_stand_are_named(execution: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_settings({"execution": execution})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cores": 8}, "settings.cores: is set by stalign"),
        ({"mistyped": 1, "memory": "1GB"}, "a slurm cluster cannot be started .*mistyped"),
        ({"memory": "1GB", "interface": "lo"}, "this machine has no command 'sbatch'"),
    ],
)
def test_a_cluster_that_cannot_be_started_is_one_line(
    settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    table = {"engine": "dask", "dask": {"cluster": "slurm", "settings": settings}}
    with (
        pytest.raises(SettingsError, match=words),
        started_cluster(parse_settings({"execution": table}).execution, "execution.dask"),
    ):
        pass

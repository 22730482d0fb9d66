"""The engine ``kubernetes``, as far as it can be held without a cluster: settings, tags, jobs, the chart's values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from stalign_assets.new_study import create_study
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.executors import assembly
from stalign_assets.platform.executors.kubernetes import executor_config, launcher_of
from stalign_assets.platform.executors.tags import KUBERNETES_TAG
from stalign_assets.runs import open_instance
from stalign_core.errors import SettingsError
from stalign_core.settings import Settings, parse_settings
from tests.assets.kubernetes_api import KUBECONFIG, execution_with, serving, two_steps_job
from tests.studies import TINY_SETTINGS, two_donor_sheet

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

STUDY_VOLUME: dict[str, Any] = {
    "volumes": [{"name": "studies", "persistentVolumeClaim": {"claimName": "studies"}}],
    "volume_mounts": [{"name": "studies", "mountPath": "/studies"}],
}


def settings_with(**kubernetes: object) -> Settings:
    """Settings of the engine."""
    table = {"engine": "kubernetes", "kubernetes": {"image": "registry/stalign:1", **kubernetes}}
    return parse_settings({"execution": table})


def test_dagster_k8s_accepts_the_configuration() -> None:
    settings = settings_with(job=STUDY_VOLUME, namespace="atlas", max_concurrent=3)
    executor = build_definitions(settings=settings).executor
    assert executor is not None and executor.name == "k8s"
    config = executor_config(settings.execution.kubernetes)
    assert config == {
        **STUDY_VOLUME,
        "job_image": "registry/stalign:1",
        "job_namespace": "atlas",
        "service_account_name": "dagster",
        "max_concurrent": 3,
        "load_incluster_config": False,
    }


@pytest.mark.parametrize(
    ("kubernetes", "words"),
    [
        ({"job": {"volume": []}}, "execution.kubernetes: is not what dagster-k8s takes: .*volume"),
        ({"job": {"volumes": "studies"}}, "execution.kubernetes: is not what dagster-k8s takes: .*volumes"),
        ({"job": {"job_image": "other"}}, "execution.kubernetes.job.job_image: is set by a setting of"),
        ({"image": ""}, "execution.kubernetes.image: is empty"),
        ({"gpus_per_step": 0}, "execution.kubernetes.gpus_per_step: is 0"),
        ({"images": "x"}, "execution.kubernetes.images: is not a setting"),
    ],
)
def test_settings_that_cannot_stand_are_one_line(kubernetes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        build_definitions(settings=settings_with(**kubernetes))
    assert "\n" not in refused.value.line


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"dagster_k8s cannot be imported; .*pip install 'stalign\[kubernetes\]'"):
        build_definitions(settings=settings_with())


def test_steps_of_the_gpu_pool_ask_for_gpus_and_no_others_do() -> None:
    settings = settings_with(gpu_resource="amd.com/gpu", gpus_per_step=2)
    asked = {
        node.name: yaml.safe_load(node.tags[KUBERNETES_TAG])
        for node in build_definitions(settings=settings).resolve_implicit_global_asset_job_def().nodes
        if KUBERNETES_TAG in node.tags
    }
    limits = {"container_config": {"resources": {"limits": {"amd.com/gpu": "2"}}}}
    assert all(found == limits for found in asked.values())
    graph = build_definitions(settings=settings).resolve_asset_graph()
    of_pool = {node.key.to_python_identifier() for node in graph.asset_nodes if "gpu" in (node.pools or ())}
    assert set(asked) == of_pool
    assert "cohort__harmony__aestetik_model" in of_pool


def test_in_a_cluster_its_own_account_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    kubernetes = settings_with().execution.kubernetes
    assert executor_config(kubernetes)["load_incluster_config"] is True
    assert launcher_of(kubernetes)["run_launcher"]["config"]["load_incluster_config"] is True


def test_the_instance_of_a_study_has_what_the_executor_needs(tiny_data: Path, tmp_path: Path) -> None:
    settings = parse_settings({**TINY_SETTINGS, "execution": settings_with().execution.model_dump()})
    study = create_study(tmp_path / "study", two_donor_sheet(tiny_data), settings)
    with open_instance(study) as instance:
        launcher = instance.get_ref().run_launcher_data
        assert launcher is not None
        assert (launcher.module_name, launcher.class_name) == ("dagster_k8s", "K8sRunLauncher")
        assert launcher.config_dict["instance_config_map"] == "dagster-instance"
        # The pools of the study, which this engine keeps, are its dagster.yaml's.
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


@pytest.mark.slow
def test_each_step_becomes_a_job_that_the_cluster_can_carry_out(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as (api, kubeconfig):
        monkeypatch.setenv(KUBECONFIG, str(kubeconfig))
        execution = execution_with(str(kubeconfig)).model_dump()
        settings = parse_settings({**TINY_SETTINGS, "execution": execution})
        study = create_study(tmp_path / "study", two_donor_sheet(tiny_data), settings)
        with open_instance(study) as instance:
            result = dg.execute_job(dg.reconstructable(two_steps_job), instance)
            times = {
                each.step_key: (each.start_time, each.end_time) for each in instance.get_run_step_stats(result.run_id)
            }
    assert result.success
    assert (times["with_gpu"][1] or 0) <= (times["without"][0] or 0)
    assert api.namespaces == {"atlas"}
    specs = {job["metadata"]["labels"]["dagster/op"]: job["spec"]["template"]["spec"] for job in api.jobs.values()}
    assert sorted(specs) == ["with_gpu", "without"]
    for step, spec in specs.items():
        (container,) = spec["containers"]
        assert container["image"] == "registry/stalign:1"
        assert {"name": "studies", "mountPath": "/studies"}.items() <= container["volumeMounts"][-1].items()
        assert spec["serviceAccountName"] == "dagster"
        limits = (container.get("resources") or {}).get("limits")
        assert limits == ({"nvidia.com/gpu": "1"} if step == "with_gpu" else None)


CHART_KEYS = {
    "dagsterWebserver",
    "dagster-user-deployments",
    "postgresql",
    "runLauncher",
    "dagsterDaemon",
    "telemetry",
    "serviceAccount",
    "global",
    "concurrency",
    "rbacEnabled",
}
"""Of the chart's values, those that the schema of Dagster 1.13's chart is known to have and this file may use."""


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text(encoding="utf-8"))
    return found


def test_the_values_use_keys_of_the_chart(values: dict[str, Any]) -> None:
    assert set(values) <= CHART_KEYS
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert set(values["runLauncher"]["config"]) == {"k8sRunLauncher"}
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert set(launcher) <= {
        "imagePullPolicy",
        "loadInclusterConfig",
        "envConfigMaps",
        "envSecrets",
        "envVars",
        "volumes",
        "volumeMounts",
        "runK8sConfig",
        "resources",
        "jobNamespace",
    }
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert set(deployment) <= {
        "name",
        "image",
        "dagsterApiGrpcArgs",
        "port",
        "env",
        "volumes",
        "volumeMounts",
        "includeConfigInLaunchedRuns",
        "resources",
    }
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "stalign_assets.definitions"]
    assert values["concurrency"] == {"enabled": True, "pools": {"defaultLimit": 1, "granularity": "op"}}
    assert values["telemetry"] == {"enabled": False}


def test_code_and_launched_runs_see_the_study_under_one_path(values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    (study,) = [entry["value"] for entry in deployment["env"] if entry["name"] == "STALIGN_STUDY"]
    (mount,) = deployment["volumeMounts"]
    (volume,) = deployment["volumes"]
    assert study.startswith(mount["mountPath"] + "/")
    assert volume["name"] == mount["name"]
    assert "claimName" in volume["persistentVolumeClaim"]


def test_the_values_match_the_defaults_of_the_settings(values: dict[str, Any]) -> None:
    kubernetes = settings_with().execution.kubernetes
    assert values["serviceAccount"]["name"] == kubernetes.service_account
    assert values["global"]["serviceAccountName"] == kubernetes.service_account
    image = values["dagster-user-deployments"]["deployments"][0]["image"]
    assert set(image) == {"repository", "tag", "pullPolicy"}


def test_the_image_installs_locked_packages_with_their_hashes() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    instructions = re.sub(r"\\\n\s*", "", text)
    assert re.search(r"^FROM python:3\.11-slim", instructions, re.MULTILINE)
    installs = re.findall(r"pip install[^&\n]*", instructions)
    assert installs and all("--require-hashes" in each or "--no-deps ." in each for each in installs), installs
    for name in re.findall(r"^COPY ((?!--from).+) \S+$", instructions, re.MULTILINE):
        for source in name.split():
            assert (DEPLOY.parent / source).exists(), source
    assert re.search(r"^USER (?!root|0)", instructions, re.MULTILINE)


def test_postgres_for_the_chart_is_locked_to_the_version_of_dagster() -> None:
    locked = (DEPLOY / "requirements-postgres.lock").read_text(encoding="utf-8")
    main = (DEPLOY.parent / "requirements.lock").read_text(encoding="utf-8")
    dask = re.search(r"^dagster-k8s==(\S+)", main, re.MULTILINE)
    assert dask is not None
    assert f"dagster-postgres=={dask[1]} " in locked
    assert all("--hash=sha256:" in entry for entry in re.sub(r"\\\n\s*", "", locked).splitlines() if "==" in entry)

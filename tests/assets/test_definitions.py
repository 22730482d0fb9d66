"""The asset graph as Dagster sees it, against a reviewed snapshot, and what it promises of itself.

A changed graph is a visible diff of ``snapshots/asset_graph.json``, changed sensors and schedules one of
``snapshots/automation.json``. After a change that is meant, renew the files with
``STALIGN_RENEW_SNAPSHOTS=1 .venv/bin/python -m pytest tests/assets/test_definitions.py`` and read their diff.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from stalign_assets.new_study import create_study
from stalign_assets.planning import assets_of_scope
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.runs import open_instance, prepare_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import STUDY_VARIABLE, open_study
from stalign_core.errors import SettingsError
from stalign_core.settings import FEATURE_NAMES, Settings, parse_settings
from tests.studies import two_donor_sheet

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).parent / "snapshots" / "asset_graph.json"
AUTOMATION = Path(__file__).parent / "snapshots" / "automation.json"
RENEW = "STALIGN_RENEW_SNAPSHOTS"


def described_graph(settings: Settings) -> dict[str, dict[str, Any]]:
    """The graph in words: one entry per asset, by key."""
    graph = build_definitions(settings=settings).resolve_asset_graph()
    return {
        node.key.to_user_string(): {
            "group": node.group_name,
            "depends_on": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": _name_of(node.partitions_def),
            "pools": sorted(node.pools or ()),
            "kinds": sorted(node.kinds),
            "code_version": node.code_version,
            "checks": {
                check.name: {
                    "blocking": graph.get(check).blocking,
                    "partitions": _name_of(graph.get(check).partitions_def),
                }
                for check in sorted(node.check_keys)
            },
        }
        for node in sorted(graph.asset_nodes, key=lambda node: node.key)
    }


def described_automation(settings: Settings) -> dict[str, dict[str, Any]]:
    """Sensors and schedules in words, by name."""
    repository = build_definitions(settings=settings).get_repository_def()

    def groups_of(job: str) -> list[str]:
        keys = repository.get_job(job).asset_layer.executable_asset_keys
        return sorted({repository.asset_graph.get(key).group_name for key in keys})

    sensors = {
        sensor.name: {
            "kind": "sensor",
            "status": sensor.default_status.value,
            "seconds": sensor.minimum_interval_seconds,
            "runs": groups_of(sensor.job_name),
        }
        for sensor in repository.sensor_defs
    }
    schedules = {
        schedule.name: {
            "kind": "schedule",
            "status": schedule.default_status.value,
            "cron": schedule.cron_schedule,
            "timezone": schedule.execution_timezone,
            "runs": groups_of(schedule.job_name),
        }
        for schedule in repository.schedule_defs
    }
    return {**sensors, **schedules}


def _name_of(partitions: dg.PartitionsDefinition[Any] | None) -> str | None:
    return partitions.name if isinstance(partitions, dg.DynamicPartitionsDefinition) else None


@pytest.fixture(scope="module")
def default_graph() -> dict[str, dict[str, Any]]:
    return described_graph(Settings())


def test_the_default_graph_is_the_reviewed_one(default_graph: dict[str, dict[str, Any]]) -> None:
    if os.environ.get(RENEW):
        SNAPSHOT.write_text(json.dumps(default_graph, indent=1) + "\n", encoding="utf-8")
    reviewed = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert sorted(default_graph) == sorted(reviewed)
    for asset, described in default_graph.items():
        assert described == reviewed[asset], f"{asset} differs; if that is meant, set {RENEW}=1 to renew the snapshot"


def test_what_happens_unattended_is_what_was_reviewed() -> None:
    now = described_automation(Settings())
    if os.environ.get(RENEW):
        AUTOMATION.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    assert now == json.loads(AUTOMATION.read_text(encoding="utf-8")), f"if that is meant, set {RENEW}=1"


def test_every_asset_has_a_group_and_a_description_of_its_own() -> None:
    graph = build_definitions(settings=Settings()).resolve_asset_graph()
    for node in graph.asset_nodes:
        assert node.group_name and node.group_name != "default", node.key
        assert node.description and node.description.endswith("."), node.key


def test_the_lineage_page_opens_as_a_dozen_boxes(default_graph: dict[str, dict[str, Any]]) -> None:
    groups = {described["group"] for described in default_graph.values()}
    methods = ("uncorrected", "harmony", "scanorama", "scvi")
    assert groups == {
        "samples",
        "results",
        "benchmark",
        *(f"{scope}_{rest}" for scope in ("donor", "cohort") for rest in ("features", *methods)),
    }


def test_donor_assets_and_their_checks_are_partitioned_and_cohort_assets_are_not(
    default_graph: dict[str, dict[str, Any]],
) -> None:
    for asset, described in default_graph.items():
        of_all = ("metrics_tables", "cohort_report", "atlas")
        expected = None if asset.startswith(("cohort/", "benchmark/")) or asset in of_all else "donors"
        expected = "folds" if asset == "benchmark/search" else expected
        assert described["partitions"] == expected, asset
        assert {check["partitions"] for check in described["checks"].values()} <= {expected}, asset


def test_what_trains_or_embeds_images_waits_for_the_gpu(default_graph: dict[str, dict[str, Any]]) -> None:
    holders = {asset for asset, described in default_graph.items() if described["pools"] == ["gpu"]}
    expected = {asset for asset in default_graph if asset.endswith("/aestetik_model")}
    assert holders >= {*expected, "morphology_embeddings/texture"}
    assert default_graph["metrics_tables"]["pools"] == ["duckdb"]


def test_variants_encoders_and_representations_of_the_settings_appear() -> None:
    settings = parse_settings(
        {
            "encoders": {"texture": {}, "inception": {"model": "inception_v3"}, "idle": {"model": "inception_v3"}},
            "representations": {"foundation": {"obsm": "X_foundation"}},
            "variants": {
                "plain": {"correction": "uncorrected"},
                "other-encoder": {"correction": "harmony", "encoder": "inception"},
                "outside.embedding": {"correction": "scanorama", "representation": "foundation"},
            },
        }
    )
    graph = described_graph(settings)
    for scope in ("donor", "cohort"):
        assert {f"{scope}/{variant}/domains" for variant in settings.variants} <= set(graph)
        assert (
            f"{scope}/morphology_harmony/inception" in graph[f"{scope}/other-encoder/corrected_features"]["depends_on"]
        )
        assert (
            f"{scope}/representation_pca/foundation"
            in graph[f"{scope}/outside.embedding/corrected_features"]["depends_on"]
        )
        assert graph[f"{scope}/outside.embedding/domains"]["group"] == f"{scope}_outside_embedding"
        assert f"{scope}/harmony/domains" not in graph
    assert {"morphology_embeddings/inception", "external_embeddings/foundation"} <= set(graph)
    assert not [asset for asset in graph if asset.endswith("/idle")]


def test_variants_whose_groups_would_be_one_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"variants\.a\.b: differs from 'a-b' by a sign alone"):
        parse_settings({"variants": {"a-b": {}, "a.b": {}}})


@pytest.mark.parametrize("name", ["features", "gene_panel", "morphology_pca"])
def test_a_variant_may_not_take_the_name_of_a_feature(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"variants\.{name}: takes a built-in name"):
        parse_settings({"variants": {name: {}}})


def test_every_feature_that_stands_beside_the_variants_is_a_name_no_variant_may_take() -> None:
    everything = {
        "representations": {"x": {"obsm": "X"}},
        "variants": {"v": {"representation": "x"}},
        "incremental": {"freeze_bases": True},
    }
    features = {
        recipe.path[1]
        for recipe in recipes_of(parse_settings(everything)).values()
        if recipe.variant is None and recipe.group.endswith("_features")
    }
    assert features | {"expression_basis", "expression_pca", "features"} == set(FEATURE_NAMES)


def test_an_encoder_called_like_an_asset_is_taken_for_none() -> None:
    encoders = {"metrics": {}, "domains": {}}
    variants = {"one": {"encoder": "metrics"}, "two": {"encoder": "domains"}}
    graph = described_graph(parse_settings({"encoders": encoders, "variants": variants}))
    told = {f"{scope}/{variant}/metrics" for scope in ("donor", "cohort") for variant in ("one", "two")}
    told |= {f"cohort/{variant}/domain_{kind}" for kind in ("markers", "abundance") for variant in ("one", "two")}
    told |= {"benchmark/results"}
    assert set(graph["metrics_tables"]["depends_on"]) == told
    assert set(graph["morphology_embeddings/metrics"]["checks"]) == {"no_missing_values"}
    assert not graph["cohort/morphology_pca/domains"]["checks"]


def test_server_and_dg_load_the_same_module() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = workspace["load_from"]
    module = location["python_module"]["module_name"]
    assert module == project["code_location_target_module"]
    assert module.split(".")[0] == project["root_module"]
    assert isinstance(import_module(module).defs, dg.Definitions)


@pytest.mark.slow
def test_the_workspace_validates() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in (STUDY_VARIABLE, "DAGSTER_HOME")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_without_a_study_materialising_fails_in_one_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("donors", ["P01"])
        result = (
            build_definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("raw_samples")],
                partition_key="P01",
                raise_on_error=False,
            )
        )
        assert not result.success
        failures = [event.step_failure_data for event in result.all_node_events if event.is_step_failure]
        assert [failure.user_failure_data.description for failure in failures if failure.user_failure_data] == [
            f"{STUDY_VARIABLE}: is not set, so no study is open; "
            "start the server with 'stalign ui STUDY', or set it to a study folder"
        ]


class RefusingIOManager(dg.IOManager):
    """Fails whatever goes through it."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise AssertionError(f"{context.asset_key} is written by an IO manager")

    def load_input(self, context: dg.InputContext) -> object:
        raise AssertionError(f"{context.asset_key} is read by an IO manager")


@pytest.mark.slow
def test_materialising_everything_again_reuses_everything_and_goes_through_no_io_manager(study: Path) -> None:
    opened = open_study(study)
    recipes = recipes_of(opened.settings)
    variants = tuple(opened.settings.variants)
    of_donor = assets_of_scope(recipes, "samples", variants) + assets_of_scope(recipes, "donor", variants)
    of_cohort = [*assets_of_scope(recipes, "cohort", variants), "metrics_tables", "cohort_report"]
    job = build_definitions(
        settings=opened.settings,
        resources={"study": StudyResource(folder=str(study)), "io_manager": RefusingIOManager()},
    ).resolve_implicit_global_asset_job_def()
    with open_instance(opened) as instance:
        for assets, partition in (*((of_donor, donor) for donor in opened.cohort.donors), (of_cohort, None)):
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
                partition_key=partition,
            )
            events = result.get_asset_materialization_events()
            assert len(events) == len(assets)
            assert all(event.materialization.metadata["reused"].value for event in events)
            evaluations = result.get_asset_check_evaluations()
            assert evaluations and all(evaluation.passed for evaluation in evaluations)


def test_a_run_pickles_nothing(finished_study: Path) -> None:
    kept = [path for path in (finished_study / "dagster" / "storage").rglob("*") if path.is_file()]
    # Dagster's own captured logs of steps are the only files it may keep there.
    assert not [path for path in kept if path.parent.name != "compute_logs"], kept
    suffixes = {path.suffix for path in finished_study.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".joblib"}


def test_a_new_study_sends_nothing_home_and_asks_for_no_address(tmp_path: Path, tiny_data: Path) -> None:
    study = create_study(tmp_path / "study", two_donor_sheet(tiny_data))
    written = yaml.safe_load((study.dagster_home / "dagster.yaml").read_text())
    assert written["telemetry"] == {"enabled": False}
    assert written["nux"] == {"enabled": False}
    with open_instance(study) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_the_gpu_limit_follows_the_settings(tmp_path: Path, tiny_data: Path) -> None:
    study = create_study(tmp_path / "study", two_donor_sheet(tiny_data))
    with open_instance(study) as instance:
        for limit in (1, 3):
            set_value(study.folder / "study.toml", "execution", "gpu_limit", limit)
            prepare_instance(instance, open_study(study.folder))
            limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
            assert limits["gpu"] == limit
        assert instance.global_op_concurrency_default_limit == 1

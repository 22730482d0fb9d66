"""What the UI's pages show of a finished study, asked from the server's application in this process."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.webserver import DagsterWebserver
from PIL import Image
from starlette.testclient import TestClient

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.runs import open_instance
from stalign_assets.study import STUDY_VARIABLE, open_study
from stalign_core.store.store import UNPARTITIONED
from tests.ui.graphql import CHECKS, NODES, PARTITIONS, Ask, latest_metadata

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MAX_THUMBNAIL_BYTES = 100_000
PICTURE = re.compile(r"!\[(\w+)\]\(data:image/png;base64,([^)]+)\)")


@pytest.fixture(scope="module")
def ask(finished_study: Path) -> Iterator[Ask]:
    """Asks the application that serves the finished study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STUDY_VARIABLE, str(finished_study))
        patch.chdir(ROOT)
        target = WorkspaceFileTarget(paths=[str(ROOT / "workspace.yaml")])
        with (
            open_instance(open_study(finished_study)) as instance,
            WorkspaceProcessContext(instance, target) as context,
        ):
            client = TestClient(DagsterWebserver(context).create_asgi_app())

            def answer(query: str, **variables: Any) -> Any:
                response = client.post("/graphql", json={"query": query, "variables": variables})
                assert response.status_code == 200, response.text
                assert "errors" not in response.json(), response.json()["errors"]
                return response.json()["data"]

            yield answer


def test_the_graph_is_that_of_the_studys_settings(ask: Ask, finished_study: Path) -> None:
    nodes = {"/".join(node["assetKey"]["path"]): node for node in ask(NODES)["assetNodes"]}
    recipes = recipes_of(open_study(finished_study).settings)
    assert set(nodes) == {*recipes, "metrics_tables", "cohort_report", "donor_report", "atlas"}
    for asset, recipe in recipes.items():
        assert nodes[asset]["groupName"] == recipe.group
        assert nodes[asset]["description"] == recipe.description
        assert nodes[asset]["isPartitioned"] == (recipe.partitioning != "none")
        assert nodes[asset]["pools"] == ([recipe.pool] if recipe.pool else [])


def test_donors_are_partitions_and_all_are_materialised(ask: Ask, finished_study: Path) -> None:
    donors = open_study(finished_study).cohort.donors
    for asset in ("raw_samples", "donor/harmony/domains"):
        node = ask(PARTITIONS, path=asset.split("/"))["assetNodeOrError"]
        assert sorted(node["partitionKeys"]) == sorted(donors)
        assert node["partitionStats"] == {
            "numMaterialized": len(donors),
            "numFailed": 0,
            "numPartitions": len(donors),
        }


def test_numbers_of_a_materialisation_are_numbers(ask: Ask, finished_study: Path) -> None:
    study = open_study(finished_study)
    donor = study.cohort.donors[0]
    shown = latest_metadata(ask, "raw_samples", donor)
    (sample,) = study.cohort.samples_of(donor)
    (positions,) = (sample.path / "spatial").glob("tissue_positions*.csv")
    assert shown["n_spots"] == sum(line.split(",")[1] == "1" for line in positions.read_text().splitlines())
    assert isinstance(shown["n_genes"], int)
    assert isinstance(shown["seconds"], float)
    assert isinstance(shown["peak_memory_mb"], float)
    scores = latest_metadata(ask, "cohort/harmony/metrics")
    assert -1 <= scores["ari"] <= 1
    assert 0 <= scores["ilisi"] <= 1


def test_a_materialisation_proves_where_it_comes_from(ask: Ask, finished_study: Path) -> None:
    study = open_study(finished_study)
    shown = latest_metadata(ask, "cohort/harmony/domains")
    provenance = json.loads(shown["provenance"])
    artifact = study.store.current("cohort/harmony/domains", UNPARTITIONED)
    assert shown["donors"] == ", ".join(study.cohort.donors)
    assert provenance["seed"] == study.settings.seed
    assert provenance["settings_hash"] == study.settings_hash
    assert {line.split()[0] for line in provenance["inputs"]} >= {"raw_samples", "cohort/harmony/spot_embeddings"}
    assert "torch" in provenance["packages"]
    assert artifact is not None and shown["input_key"] == artifact.manifest.input_key


@pytest.mark.parametrize(("asset", "of_donor"), [("cohort/harmony/domains", False), ("donor/harmony/domains", True)])
def test_domains_show_a_map_and_a_projection_of_readable_size(
    ask: Ask, finished_study: Path, asset: str, of_donor: bool
) -> None:
    partition = open_study(finished_study).cohort.donors[0] if of_donor else None
    shown = latest_metadata(ask, asset, partition)
    pictures = dict(PICTURE.findall(shown["pictures"]))
    assert set(pictures) == {"domain_map", "umap"}
    for name, encoded in pictures.items():
        picture = base64.b64decode(encoded, validate=True)
        assert len(picture) < MAX_THUMBNAIL_BYTES
        with Image.open(io.BytesIO(picture)) as image:
            assert min(image.size) >= 100
            assert len(set(image.convert("RGB").resize((64, 64)).getdata())) > 10
        assert Path(shown[f"{name}_file"]).is_file()


def test_every_check_of_every_asset_passed(ask: Ask, finished_study: Path) -> None:
    n_checks = 0
    for node in ask(NODES)["assetNodes"]:
        answer = ask(CHECKS, path=node["assetKey"]["path"])["assetNodeOrError"]["assetChecksOrError"]
        for check in answer.get("checks", []):
            n_checks += 1
            execution = check["executionForLatestMaterialization"]
            assert check["description"]
            assert execution is not None, (node["assetKey"], check["name"])
            assert execution["evaluation"]["success"], (node["assetKey"], check["name"])
    # Four of raw samples, one of its morphology and of the tables; per scope one of the PCA and four per variant; and
    # in the cohort one of the PCA that corrected variants start from.
    n_variants = len(open_study(finished_study).settings.variants)
    assert n_checks == 4 + 1 + 1 + 2 * (1 + 4 * n_variants) + 1


def test_the_gpu_pool_is_limited(ask: Ask) -> None:
    limits = ask("{ instance { concurrencyLimits { concurrencyKey slotCount } } }")["instance"]["concurrencyLimits"]
    assert {"concurrencyKey": "gpu", "slotCount": 1} in limits

"""A cohort of 200 donors in seconds: audited whole, verified, compared with what a run would make, looked at by itself.

The study is a real one but for what its assets hold: each writes a line instead of computing.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from stalign_assets.materialise import Step, materialise
from stalign_assets.new_study import create_study
from stalign_assets.planning import with_upstream
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import Task
from stalign_assets.results.tables import query, rebuild_tables
from stalign_assets.runs import open_instance
from stalign_assets.study import Study, open_study
from stalign_assets.unattended.attempts import Wish
from stalign_assets.unattended.new_samples import Look, look_at_donors
from stalign_assets.unattended.reintegration import decide_integration
from stalign_assets.unattended.watched import watched
from stalign_core.settings import parse_settings
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import stalign
from tests.assets.test_audit import DOMAINS, RAW_FILES_BY_SQL, flip_a_bit
from tests.studies import TINY_SETTINGS

N_DONORS = 200
PER_DONOR = ("raw_samples", "gene_statistics", "spot_grids", "morphology_embeddings/texture")
MOST_SECONDS = 30.0
"""CPU seconds for a command; a few on an idle machine."""

pytestmark = pytest.mark.slow


def write_a_line(task: Task) -> None:
    """Instead of a computation: what other assets' keys, and the tables, look for."""
    task.builder.write_json("line.json", [task.recipe.asset, task.partition])
    if task.recipe.asset == "raw_samples":
        facts = {"spots": 1, "genes": 1, "genes_detected": 1, "median_counts_per_spot": 1.0, "spots_annotated": 0}
        task.builder.summary.update(
            problems=[], samples={f"{task.partition}_S1": {**facts, "image": "", "labels": ["a", "b", "c"]}}
        )
    if task.recipe.asset == DOMAINS:
        columns = ("sample", "donor", "barcode", "domain", "domain_unrefined")
        task.builder.write_table("domains.parquet", pd.DataFrame([["x"] * len(columns)], columns=columns))


def materialise_all(study: Study) -> None:
    """Everything that the cohort's domains are made from, and these."""
    recipes = recipes_of(study.settings)
    needed = with_upstream(recipes, [DOMAINS])
    hollow = {asset: replace(recipe, compute=write_a_line) for asset, recipe in recipes.items()}
    for asset in (asset for asset in recipes if asset in needed):
        of_donors = recipes[asset].partitioning == "donor"
        for partition in study.cohort.donors if of_donors else (UNPARTITIONED,):
            materialise(Step(study, hollow, hollow[asset], partition, "run", lambda *_: None, lambda _: None))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 200 donors whose domains are up to date."""
    folder = tmp_path_factory.mktemp("large")
    rows = ["sample,donor,path"]
    for number in range(N_DONORS):
        (folder / f"{number:03d}.h5ad").write_text(f"section {number}")
        rows.append(f"P{number:03d}_S1,P{number:03d},{number:03d}.h5ad")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    settings = {**TINY_SETTINGS, "domains": {"n_domains": 3}, "variants": {"harmony": {"correction": "harmony"}}}
    settings["automation"] = {"donor_scope": False}
    study = create_study(folder / "study", folder / "samples.csv", parse_settings(settings))
    materialise_all(study)
    return study.folder


def audited(capsys: pytest.CaptureFixture[str], study: Path, *words: str, code: int = 0) -> dict[str, object]:
    """The answer of the command, in time."""
    begin = time.process_time()
    answer = stalign(capsys, "audit", study, *words, "--json")
    seconds = time.process_time() - begin
    assert answer.code == code, answer.err
    assert seconds < MOST_SECONDS
    found: dict[str, object] = json.loads(answer.out)
    return found


def test_the_whole_ancestry_is_told_each_artifact_before_its_inputs(
    large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = audited(capsys, large, "--asset", DOMAINS, "--verify", "--stale")
    artifacts: list[dict[str, object]] = told["artifacts"]  # type: ignore[assignment]
    places = [(each["asset"], each["partition"]) for each in artifacts]
    assert {place for place in places if place[1] != UNPARTITIONED} == {
        (asset, donor) for asset in PER_DONOR for donor in open_study(large).cohort.donors
    }
    for position, artifact in enumerate(artifacts):
        after = set(places[position + 1 :])
        assert all((record["asset"], record["partition"]) in after for record in artifact["inputs"])  # type: ignore[attr-defined]
    assert len(told["donors"]) == len(told["raw_files"]) == N_DONORS  # type: ignore[arg-type]
    assert told["verified"]["mismatches"] == [] and told["verified"]["artifacts"] == len(places)  # type: ignore[index]
    assert told["stale"] == []


def test_sql_tells_the_same_raw_files(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = open_study(large)
    rebuild_tables(study, recipes_of(study.settings))
    told = audited(capsys, large, "--asset", DOMAINS)
    by_sql = set(query(study.metrics_path, RAW_FILES_BY_SQL).itertuples(index=False, name=None))
    assert by_sql == {(raw["path"], raw["sha256"], raw["size"]) for raw in told["raw_files"]}  # type: ignore[attr-defined]


def test_an_unattended_look_at_all_donors_is_over_long_before_a_tick_is_cut_off(large: Path) -> None:
    """Dagster gives a tick a minute. Before the next test, which writes a donor's file anew."""
    study = watched(open_study(large))
    with open_instance(study) as instance:
        begin = time.process_time()
        look = look_at_donors(study, instance, (), {}, datetime.now(UTC))
        decided = decide_integration(study, instance, ())
        seconds = time.process_time() - begin
    assert look == Look()
    assert isinstance(decided, Wish) and "cohort/harmony/metrics" in decided.assets
    assert seconds < MOST_SECONDS


def test_one_changed_file_among_all_is_found_and_named(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = large.parent / "117.h5ad"
    kept = open_study(large).store.current("spot_grids", "P042")
    assert kept is not None
    altered = Path(kept.folder.path) / "line.json"
    before = {path: path.read_bytes() for path in (raw, altered)}
    try:
        raw.write_text("another section")
        flip_a_bit(altered)
        told = audited(capsys, large, "--asset", DOMAINS, "--verify", "--stale", code=1)
    finally:
        for path, payload in before.items():
            path.write_bytes(payload)
    stale = {(step["asset"], step["partition"]): step for step in told["stale"]}  # type: ignore[attr-defined]
    assert {partition for _, partition in stale} == {"P117", UNPARTITIONED}
    assert stale["raw_samples", "P117"]["reason"] == "raw file 117.h5ad changed"
    assert stale[DOMAINS, UNPARTITIONED]["state"] == "waiting"
    mismatches = sorted(told["verified"]["mismatches"])  # type: ignore[index]
    assert len(mismatches) == 2 and str(raw) in mismatches[0] and str(altered) in mismatches[1]

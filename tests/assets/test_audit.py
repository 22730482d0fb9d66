"""`stalign audit`: the whole ancestry of any retained artifact, verified, compared with what a run would make."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stalign_assets.audit.ancestry import ancestry_of
from stalign_assets.audit.left_out import left_out_now
from stalign_assets.audit.staleness import stale_steps
from stalign_assets.audit.trail import trail_lines, trail_table
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.store import Artifact, Store
from stalign_core.store.hashing import file_sha256
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import stalign, the_one_error
from tests.core.store.test_store import manifest_of
from tests.studies import run

DOMAINS = "cohort/harmony/domains"
RAW_FILES_BY_SQL = """
    with recursive ancestors as (
        select asset, partition, input_key from artifacts where asset = 'cohort/harmony/domains' and is_current
        union
        select l.input_asset, l.input_partition, l.input_input_key
        from ancestors join lineage l using (asset, partition, input_key) where l.input_asset is not null)
    select distinct source_path, source_sha256, source_size
    from ancestors join lineage using (asset, partition, input_key) where source_path is not null
"""


def audited(capsys: pytest.CaptureFixture[str], study: Path, *words: str, code: int = 0) -> dict[str, object]:
    answer = stalign(capsys, "audit", study, *words, "--json")
    assert answer.code == code, answer.err
    found: dict[str, object] = json.loads(answer.out)
    return found


def in_force(study: Path, asset: str, partition: str = UNPARTITIONED) -> Artifact:
    artifact = open_study(study).store.current(asset, partition)
    assert artifact is not None
    return artifact


def flip_a_bit(path: Path) -> None:
    """Change a file without changing what links to it."""
    payload = path.read_bytes()
    path.unlink()
    path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))


# What it tells


def test_every_raw_file_of_the_cohort_is_told_with_the_hash_of_its_bytes(
    finished_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = audited(capsys, finished_study, "--asset", DOMAINS)
    raw = {source["path"]: source["sha256"] for source in told["raw_files"]}  # type: ignore[attr-defined]
    for sample in open_study(finished_study).cohort.samples:
        assert sample.annotation is not None and sample.image is not None
        for path in (sample.annotation, sample.image, next(sample.path.glob("*.h5"))):
            assert raw[str(path)] == file_sha256(path)


def test_sql_finds_the_same_raw_files_and_the_same_making(
    finished_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = audited(capsys, finished_study, "--asset", DOMAINS)
    rows = query(finished_study / "metrics.duckdb", RAW_FILES_BY_SQL)
    by_sql = set(rows.itertuples(index=False, name=None))
    assert by_sql == {(raw["path"], raw["sha256"], raw["size"]) for raw in told["raw_files"]}  # type: ignore[attr-defined]
    rows = query(finished_study / "metrics.duckdb", "select * from artifacts where is_current")
    by_key = {row["input_key"]: row for row in rows.to_dict("records")}
    for artifact in told["artifacts"]:  # type: ignore[attr-defined]
        row = by_key[artifact["input_key"]]
        assert json.loads(row["settings"]) == artifact["settings"]
        assert json.loads(row["packages"]) == artifact["packages"]
        assert list(row["donors"]) == artifact["donors"]
        assert (row["seed"], row["code_version"], row["run_id"]) == tuple(
            artifact[name] for name in ("seed", "code_version", "run_id")
        )


def test_the_text_names_artifacts_settings_runs_packages_and_raw_files(
    finished_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = stalign(capsys, "audit", finished_study, "--asset", DOMAINS).out
    manifest = in_force(finished_study, DOMAINS).manifest
    for expected in (manifest.input_key, manifest.data_version, manifest.run_id, "n_domains=3", "raw_samples"):
        assert expected in text
    assert f"numpy {np.__version__}" in text and "donors in    2: P01, P02" in text
    assert "fault" not in text


def test_the_text_tells_when_everything_was_made_and_the_whole_hash_of_each_raw_file(
    finished_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = stalign(capsys, "audit", finished_study, "--asset", DOMAINS).out.splitlines()
    made = in_force(finished_study, DOMAINS).manifest
    assert f"  made         {made.created} in {made.seconds:.1f} s, run {made.run_id}" in lines
    told = audited(capsys, finished_study, "--asset", DOMAINS)
    _, *ancestors = sorted(told["artifacts"], key=lambda each: each["asset"] != DOMAINS)  # type: ignore[attr-defined]
    for each in ancestors:
        told_of = f"{each['input_key'][:12]}  {each['data_version'][:12]}"
        assert [each["created"] in line for line in lines if told_of in line] == [True], each["asset"]
        assert datetime.fromisoformat(each["created"]).tzinfo is UTC
    for run_id, facts in told["runs"].items():  # type: ignore[attr-defined]
        assert f"  {run_id}  {facts['first']} to {facts['last']}, {facts['artifacts']} artifacts" in lines
    start = next(place for place, line in enumerate(lines) if line.startswith("raw files"))
    of_files = [line.split(maxsplit=2) for line in lines[start + 1 :]]
    assert len(of_files) == len(told["raw_files"]) >= 10  # type: ignore[arg-type]
    for sha256, size, path in of_files:
        assert (sha256, int(size)) == (file_sha256(Path(path)), Path(path).stat().st_size)
        assert len(sha256) == 64


def test_donors_left_out_are_told_with_the_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.staging(None) as builder:
        builder.write_json("x.json", 1)
        manifest = replace(manifest_of(builder, DOMAINS, UNPARTITIONED), donors_left_out={"P07": "has 12 spots"})
        root = store.commit(builder, manifest)
    assert "  donor out    P07: has 12 spots" in trail_lines(ancestry_of(store, root))


@pytest.mark.parametrize(
    ("rewrite", "reason"),
    [
        (lambda line: f"{line},yes", "is retired in samples.csv"),
        (lambda _: "", "is no longer in samples.csv"),
    ],
    ids=["retired", "removed"],
)
def test_donors_that_have_left_since_are_told_of_what_is_in_force(
    study: Path, capsys: pytest.CaptureFixture[str], rewrite: Callable[[str], str], reason: str
) -> None:
    ancestry = ancestry_of(open_study(study).store, in_force(study, DOMAINS))
    opened = open_study(study)
    assert left_out_now(opened, recipes_of(opened.settings), ancestry) == {}
    assert trail_table(ancestry, {})["donors_left_out_now"] == {}
    assert not [line for line in trail_lines(ancestry, {}) if "by now" in line]

    header, first, second = (study / "samples.csv").read_text().splitlines()
    rows = [f"{header},retired", f"{first},", rewrite(second)]
    (study / "samples.csv").write_text("\n".join(row for row in rows if row) + "\n")
    opened = open_study(study)
    left_out = left_out_now(opened, recipes_of(opened.settings), ancestry)
    assert left_out == {"P02": reason}
    assert trail_table(ancestry, left_out)["donors_left_out"] == {}
    assert trail_table(ancestry, left_out)["donors_left_out_now"] == {"P02": reason}
    assert f"  out by now   P02: {reason}" in trail_lines(ancestry, left_out)
    assert audited(capsys, study, "--asset", DOMAINS)["donors_left_out_now"] == {"P02": reason}
    assert f"  out by now   P02: {reason}\n" in stalign(capsys, "audit", study, "--asset", DOMAINS).out

    of_one_donor = ancestry_of(opened.store, in_force(study, "raw_samples", "P01"))
    assert left_out_now(opened, recipes_of(opened.settings), of_one_donor) is None
    not_in_force = replace(ancestry, in_force=False)
    assert left_out_now(opened, recipes_of(opened.settings), not_in_force) is None


def test_a_donor_that_was_left_out_and_is_back_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.staging(None) as builder:
        builder.write_json("x.json", 1)
        manifest = replace(manifest_of(builder, DOMAINS, UNPARTITIONED), donors_left_out={"P07": "has 12 spots"})
        ancestry = ancestry_of(store, store.commit(builder, manifest))
    assert "  out by now   P07 no longer" in trail_lines(ancestry, {})
    assert not [line for line in trail_lines(ancestry, manifest.donors_left_out) if "by now" in line]


def test_an_asset_of_donors_needs_a_donor_and_an_unknown_one_is_refused(
    finished_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = the_one_error(stalign(capsys, "audit", finished_study, "--asset", "raw_samples"))
    assert "has one artifact per donor; add --donor, such as P01" in line
    told = audited(capsys, finished_study, "--asset", "raw_samples", "--donor", "P02")
    assert told["donors"] == ["P02"]
    assert "is no asset" in the_one_error(stalign(capsys, "audit", finished_study, "--asset", "nothing"))
    assert "begins no input key" in the_one_error(stalign(capsys, "audit", finished_study, "--artifact", "zz"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--asset", "../../study/store/raw_samples", "--donor", "P01"), "--asset: holds the name '..'"),
        (("--asset", "raw_samples", "--donor", "../raw_samples/P01"), "--donor: holds the name '../raw_samples/P01'"),
        (("--asset", "*", "--artifact", "a"), "--asset: holds the name '*'"),
        (("--artifact", "../../x"), "--artifact: is '../../x'"),
        (("--stale",), "--stale: is told of one asset"),
        (("--stale", "--verify"), "--stale: is told of one asset"),
        (("--verify", "--donor", "P01"), "--donor: is given without an asset"),
        ((), "--asset: is missing"),
    ],
)
def test_words_that_lead_out_of_the_store_or_mean_nothing_are_refused(
    finished_study: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in the_one_error(stalign(capsys, "audit", finished_study, *words))


# Verification


def test_a_whole_study_verifies(finished_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verified = audited(capsys, finished_study, "--verify")["verified"]
    artifacts = list(open_study(finished_study).store.artifacts())
    assert verified["artifacts"] == len(artifacts)  # type: ignore[index]
    assert verified["files"] == sum(len(each.manifest.files) for each in artifacts)  # type: ignore[index]
    assert verified["mismatches"] == [] and verified["raw_files"] > 0  # type: ignore[index]


def test_each_altered_file_is_named_and_the_exit_code_is_one(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    altered = in_force(study, "spot_grids", "P01")
    victim = Path(altered.folder.path) / altered.names("*.safetensors")[0]
    flip_a_bit(victim)
    gone = in_force(study, "cohort/gene_panel")
    (Path(gone.folder.path) / "manifest.json").unlink()
    annotation = open_study(study).cohort.samples[0].annotation
    assert annotation is not None
    text = annotation.read_bytes()
    try:
        flip_a_bit(annotation)
        told = audited(capsys, study, "--asset", DOMAINS, "--verify", code=1)
    finally:
        annotation.write_bytes(text)
    mismatches = told["verified"]["mismatches"]  # type: ignore[index]
    assert len(mismatches) == 3
    for expected in (str(victim), f"{gone.manifest.input_key}: is not retained any more", f"{annotation}: has SHA-256"):
        assert [expected in line for line in mismatches].count(True) == 1


@pytest.mark.parametrize("pointer", ["", '{"input_key": "0000"}'], ids=["empty", "of what is not there"])
def test_a_pointer_that_cannot_be_followed_is_a_mismatch_of_the_whole_store(
    study: Path, pointer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(in_force(study, DOMAINS).folder.path).parent / "current.json"
    path.write_text(pointer)
    (line,) = audited(capsys, study, "--verify", code=1)["verified"]["mismatches"]  # type: ignore[index]
    assert str(path) in line


def test_raw_files_that_moved_are_found_by_the_sheet(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = in_force(study, "raw_samples", "P01")
    before = raw.manifest.sources[0]
    sources = (replace(before, path=f"/elsewhere/{Path(before.path).name}"), *raw.manifest.sources[1:])
    (raw.folder / "manifest.json").write_text(replace(raw.manifest, sources=sources).to_json(), encoding="utf-8")
    told = audited(capsys, study, "--asset", DOMAINS, "--verify")
    assert told["verified"]["moved"] == {sources[0].path: before.path}  # type: ignore[index]


def test_an_input_made_anew_with_other_content_is_a_fault(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = in_force(study, "cohort/harmony/corrected_features")
    altered = replace(features.manifest, data_version="0" * 32)
    (features.folder / "manifest.json").write_text(altered.to_json(), encoding="utf-8")
    told = audited(capsys, study, "--asset", DOMAINS)
    assert all("corrected_features" in line and "has content 0000" in line for line in told["faults"])  # type: ignore[attr-defined]
    assert told["faults"]


# What is stale


def stale(capsys: pytest.CaptureFixture[str], study: Path) -> dict[tuple[str, str], tuple[str, str]]:
    steps = audited(capsys, study, "--asset", DOMAINS, "--stale")["stale"]
    return {(step["asset"], step["partition"]): (step["state"], step["reason"]) for step in steps}  # type: ignore[attr-defined]


def test_nothing_is_stale_of_a_finished_study(finished_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stale(capsys, finished_study) == {}


def test_a_changed_setting_is_named_with_both_values(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    assert stale(capsys, study) == {(DOMAINS, UNPARTITIONED): ("changed", "refine_neighbors 6 -> 4")}
    set_value(study / "study.toml", "expression", "n_top_genes", 120)
    found = stale(capsys, study)
    assert found["cohort/gene_panel", UNPARTITIONED] == ("changed", "n_top_genes 150 -> 120")
    assert found[DOMAINS, UNPARTITIONED][0] == "waiting"
    assert "cohort/morphology_pca/texture" not in {asset for asset, _ in found}


def test_a_changed_raw_file_and_a_donor_that_left_are_named(
    study: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation = open_study(study).cohort.samples[0].annotation
    assert annotation is not None
    text = annotation.read_bytes()
    try:
        annotation.write_bytes(text.rstrip(b"\n") + b"\n\n")
        found = stale(capsys, study)
    finally:
        annotation.write_bytes(text)
    assert found["raw_samples", "P01"] == ("changed", f"raw file {annotation.name} changed")
    assert found[DOMAINS, UNPARTITIONED][0] == "waiting"
    sheet = study / "samples.csv"
    sheet.write_text("".join(line for line in sheet.read_text().splitlines(True) if ",P02," not in line))
    assert stale(capsys, study)["cohort/gene_panel", UNPARTITIONED] == ("changed", "P02 left")


# Any retained artifact


@pytest.mark.slow
def test_an_earlier_artifact_is_told_of_by_the_beginning_of_its_key(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = in_force(study, DOMAINS).manifest
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    assert run(study, scopes="cohort", variants="harmony").success
    now = in_force(study, DOMAINS).manifest
    told = audited(capsys, study, "--artifact", before.input_key[:10], "--verify", "--stale")
    assert (told["input_key"], told["in_force"]) == (before.input_key, False)
    assert told["changed_since"] == ["refine_neighbors 6 -> 4"] and told["stale"] == []
    assert (
        "not in force: refine_neighbors 6 -> 4"
        in stalign(capsys, "audit", study, "--artifact", before.input_key, "--stale").out
    )
    rows = query(study / "metrics.duckdb", f"select * from artifacts where input_key = '{before.input_key}'")
    assert (rows["is_current"].tolist(), rows["data_version"].tolist()) == ([False], [before.data_version])
    rows = query(study / "metrics.duckdb", f"select * from lineage where input_key = '{before.input_key}'")
    assert set(rows["input_input_key"]) == {record.input_key for record in before.inputs}
    assert {each["input_key"] for each in told["retained"]} == {before.input_key, now.input_key}  # type: ignore[attr-defined]
    assert "also kept    " + before.input_key in stalign(capsys, "audit", study, "--asset", DOMAINS).out


def test_an_audit_counts_the_manifests_that_it_reads_and_the_donors_that_it_looks_at(finished_study: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    opened = open_study(finished_study)
    ancestry = ancestry_of(opened.store, in_force(finished_study, DOMAINS), progress)
    n_artifacts = len(ancestry.artifacts)
    assert [done for _, done, _ in told] == list(range(n_artifacts))
    assert told[-1] == ("reading manifests", n_artifacts - 1, n_artifacts)
    told.clear()
    stale_steps(opened, recipes_of(opened.settings), DOMAINS, UNPARTITIONED, progress)
    assert told == [(f"looking for what has changed of {donor}", done, 2) for done, donor in enumerate(("P01", "P02"))]

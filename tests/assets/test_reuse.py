"""What is computed again, and what is not, after each kind of change."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stalign_assets.new_study import create_study
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import KeyContext
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from stalign_core.store.hashing import digest
from stalign_core.store.store import UNPARTITIONED
from tests.studies import run, two_donor_sheet

pytestmark = pytest.mark.slow

VIT = {"one": {"encoder": "vit"}}

OF_DOMAINS = ("domain_correspondence", "metrics", "domain_profiles", "domain_markers", "domain_abundance")
"""What follows from domains."""


def created_at(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Input key and run of the artifact in force, by asset and partition."""
    store = open_study(folder).store
    found = {}
    for artifact in store.artifacts():
        current = store.current(artifact.manifest.asset, artifact.manifest.partition)
        assert current is not None
        place = (current.manifest.asset, current.manifest.partition)
        found[place] = (current.manifest.input_key, current.manifest.run_id)
    return found


def append_sample(study: Path, data: Path, position: int, donor: str | None = None) -> dict[str, str]:
    """Add a row of the simulated sheet to a study's own, with absolute paths and perhaps another donor."""
    with (data / "samples.csv").open() as stream:
        row = list(csv.DictReader(stream))[position]
    for column in ("path", "image", "annotation"):
        row[column] = str(data / row[column]) if row[column] else ""
    row["donor"] = donor or row["donor"]
    with (study / "samples.csv").open("a") as stream:
        csv.DictWriter(stream, list(row)).writerow(row)
    return row


def changed(before: dict[tuple[str, str], tuple[str, str]], folder: Path) -> set[tuple[str, str]]:
    after = created_at(folder)
    return {place for place in after if after[place] != before.get(place)}


def test_a_second_run_computes_nothing(study: Path) -> None:
    before = created_at(study)
    report = run(study)
    assert report.success and report.n_computed == 0
    assert report.n_up_to_date == len(before)
    assert changed(before, study) == set()


def test_every_spot_has_a_domain_in_every_table(study: Path) -> None:
    opened = open_study(study)
    spots = {
        (sample, barcode)
        for donor in opened.cohort.donors
        if (raw := opened.store.current("raw_samples", donor)) is not None
        for sample in raw.manifest.summary["samples"]
        for barcode in raw.table(f"{sample}.spots.parquet")["barcode"]
    }
    for scope in ("donor", "cohort"):
        for variant in opened.settings.variants:
            with (study / "reports" / f"domains_{scope}_{variant}.csv").open() as stream:
                rows = list(csv.DictReader(stream))
            assert {(row["sample"], row["barcode"]) for row in rows} == spots
            assert len(rows) == len(spots)
            assert all(row["domain"] for row in rows)


def test_a_clustering_setting_recomputes_domains_and_metrics_alone(study: Path) -> None:
    before = created_at(study)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    assert run(study).success
    assets = {asset.rsplit("/", 1)[-1] for asset, _ in changed(before, study)}
    assert assets == {"domains", *OF_DOMAINS}


def test_a_variant_setting_leaves_other_variants_alone(study: Path) -> None:
    before = created_at(study)
    text = (study / "study.toml").read_text()
    (study / "study.toml").write_text(
        text.replace("[correction.harmony]\ntheta = 2.0", "[correction.harmony]\ntheta = 1.0")
    )
    assert run(study).success
    touched = {asset for asset, _ in changed(before, study)}
    assert "cohort/harmony/domains" in touched
    assert not {asset for asset in touched if "/uncorrected/" in asset or not asset.startswith(("cohort", "donor"))}


def test_a_state_that_returns_is_recognised(study: Path) -> None:
    before = created_at(study)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    run(study)
    set_value(study / "study.toml", "domains", "refine_neighbors", 6)
    report = run(study)
    assert report.success and report.n_computed == 0 and report.n_reused > 0
    assert changed(before, study) == set()


def test_a_new_donor_costs_its_own_partitions_and_the_cohort(study: Path, tiny_data: Path) -> None:
    before = created_at(study)
    newcomer = append_sample(study, tiny_data, position=2)
    assert run(study).success
    touched = changed(before, study)
    own = {place for place in touched if place[1] != UNPARTITIONED}
    assert {partition for _, partition in own} == {newcomer["donor"]}
    assert ("cohort/harmony/domains", UNPARTITIONED) in touched


def test_changed_labels_recompute_no_features(study: Path) -> None:
    before = created_at(study)
    annotation = open_study(study).cohort.samples[0].annotation
    assert annotation is not None
    text = annotation.read_text()
    try:
        lines = text.splitlines()
        annotation.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
        assert run(study).success
        touched = {asset.rsplit("/", 1)[-1] for asset, _ in changed(before, study)}
    finally:
        annotation.write_text(text)
    assert touched == {"raw_samples", "metrics"}


def test_a_damaged_artifact_is_computed_again_with_the_same_content(study: Path) -> None:
    store = open_study(study).store
    artifact = store.current("cohort/expression_pca", UNPARTITIONED)
    assert artifact is not None
    victim = Path(artifact.folder.path) / artifact.names("*.safetensors")[0]
    payload = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    assert run(study).success
    again = store.current("cohort/expression_pca", UNPARTITIONED)
    assert again is not None
    again.verify()
    assert again.manifest.data_version == artifact.manifest.data_version


def test_samples_of_one_donor_are_parts(new_study: Callable[[str], Path], tiny_data: Path) -> None:
    """A new section of a known donor is read; the donor's other section is taken over."""
    lines = (tiny_data / "samples.csv").read_text().splitlines()
    folder = new_study("\n".join(lines[:2]) + "\n")
    (first,) = open_study(folder).cohort.samples
    assert run(folder, scopes="donor", variants="uncorrected").success
    second = append_sample(folder, tiny_data, position=1, donor=first.donor)
    assert run(folder, scopes="donor", variants="uncorrected").success
    raw = open_study(folder).store.current("raw_samples", first.donor)
    assert raw is not None
    assert set(raw.manifest.summary["samples"]) == {first.sample, second["sample"]}
    assert raw.manifest.summary["parts_reused"] == 1


def test_the_key_of_morphology_follows_the_checkpoints_content_and_the_revision(
    tmp_path: Path, tiny_data: Path
) -> None:
    def key_of(**encoder: str) -> str:
        settings = parse_settings({"encoders": {"vit": {"model": "timm:test_vit", **encoder}}, "variants": VIT})
        study = replace(created, settings=settings)
        recipe = recipes_of(settings)["morphology_embeddings/vit"]
        return digest(dict(recipe.settings(KeyContext(study, "P01", ("P01",), {}))))

    created = create_study(tmp_path / "study", two_donor_sheet(tiny_data))
    checkpoint = created.folder / "weights.pth"
    checkpoint.write_bytes(b"one")
    first = key_of(weights="weights.pth")
    checkpoint.rename(created.folder / "moved.pth")
    assert key_of(weights="moved.pth") == first
    checkpoint.write_bytes(b"two")
    newest, pinned, other = key_of(), key_of(revision="a" * 40), key_of(revision="b" * 40)
    assert len({first, key_of(weights="weights.pth"), newest, pinned, other}) == 5

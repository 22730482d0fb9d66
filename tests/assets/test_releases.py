"""Releases of domains: pinned, compared, gone on with after an integration, never collected."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stalign_assets.garbage import collect_garbage
from stalign_assets.new_study import create_study
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import Study, open_study
from stalign_core.errors import StalignError
from stalign_core.naming import NAME_RULE
from stalign_core.store.releases import PinnedDomains, Release, drop_release, keep_release
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import everything_kept, stalign, the_one_error
from tests.assets.test_gc import commit
from tests.studies import run, two_donor_sheet

DOMAINS = "cohort/harmony/domains"


def key_of(study: Path, asset: str = DOMAINS) -> str:
    artifact = open_study(study).store.current(asset, UNPARTITIONED)
    assert artifact is not None
    return artifact.manifest.input_key


def rows_of(study: Path) -> list[dict[str, str]]:
    with (study / "reports" / "domains_cohort_harmony.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def pinned(tmp_path: Path, tiny_data: Path) -> Study:
    """A store with domains that are in force no more and that release spring names, and what they were made from."""
    study = create_study(tmp_path / "study", two_donor_sheet(tiny_data))
    domains = commit(study, "cohort/harmony/domains", "a" * 32, commit(study, "features", "b" * 32))
    manifest = domains.manifest
    names = PinnedDomains(manifest.asset, manifest.partition, manifest.input_key, {"1": "1", "2": "2"}, ("1", "2"))
    keep_release(study.store, Release("spring", 1, manifest.created, {"harmony": names}))
    return study


def keys_after_gc(study: Study) -> set[str]:
    """Keys of what is left once everything that nothing needs is collected, or collecting was refused."""
    with open_instance(study) as instance, suppress(StalignError):
        collect_garbage(study, instance, keep_days=0, now=datetime.now(UTC) + timedelta(days=40))
    return {artifact.manifest.input_key for artifact in study.store.artifacts()}


@pytest.mark.slow
def test_a_release_is_gone_on_with_and_never_collected(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(row["stable_domain"] == row["domain"] for row in rows_of(study))
    assert "no release is pinned" in stalign(capsys, "release", "list", study).out
    assert stalign(capsys, "release", "pin", study, "spring").out.startswith("release spring: domains of uncorrected")
    pinned = key_of(study)
    asked = ("audit", study, "--asset", "cohort/harmony/domain_correspondence", "--stale", "--json")
    (step,) = json.loads(stalign(capsys, *asked).out)["stale"]
    assert step["reason"] == "release none -> spring"
    assert "is pinned already" in the_one_error(stalign(capsys, "release", "pin", study, "spring"))
    before = {(row["sample"], row["barcode"]): row["domain"] for row in rows_of(study)}

    set_value(study / "study.toml", "domains", "n_domains", 2)
    assert "are not up to date" in the_one_error(stalign(capsys, "release", "pin", study, "summer"))
    assert run(study, scopes="cohort").success
    assert key_of(study) != pinned
    compared = json.loads(stalign(capsys, "release", "compare", study, "spring", "--json").out)
    fates = {row["domain"]: row["fate"] for row in compared if (row["variant"], row["side"]) == ("harmony", "spring")}
    assert set(fates) == set(before.values()) and "kept" in fates.values() and set(fates.values()) != {"kept"}
    for name in (name for name, fate in fates.items() if fate == "kept"):
        spots = [before[row["sample"], row["barcode"]] for row in rows_of(study) if row["stable_domain"] == name]
        ours = sum(domain == name for domain in before.values())
        assert 2 * spots.count(name) / (ours + len(spots)) >= 0.5
    assert not {row["stable_domain"] for row in rows_of(study)} & {
        name for name, fate in fates.items() if fate != "kept"
    }

    later = datetime.now(UTC) + timedelta(days=40)
    with open_instance(open_study(study)) as instance:
        collect_garbage(open_study(study), instance, keep_days=0, now=later)
        assert (DOMAINS, UNPARTITIONED, pinned) in everything_kept(study)
        told = json.loads(stalign(capsys, "audit", study, "--artifact", pinned, "--verify", "--json").out)
        assert told["verified"]["mismatches"] == []
        listed = json.loads(stalign(capsys, "release", "list", study, "--json").out)
        assert [release["name"] for release in listed] == ["spring"]
        stalign(capsys, "release", "unpin", study, "spring")
        assert run(study, scopes="cohort").success
        collect_garbage(open_study(study), instance, keep_days=0, now=later)
        assert (DOMAINS, UNPARTITIONED, pinned) not in everything_kept(study)


def test_a_name_that_no_file_may_have_and_what_is_not_there_are_refused(
    pinned: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*words: object) -> str:
        return the_one_error(stalign(capsys, "release", *words))

    assert f"has the name '../x'; expected {NAME_RULE}" in refusal("pin", pinned.folder, "../x")
    assert "variant 'nope': is none of the study's" in refusal("pin", pinned.folder, "x", "--variants", "nope")
    assert "is not pinned; expected one of spring" in refusal("compare", pinned.folder, "x")


def test_a_release_is_what_keeps_its_domains_and_all_they_were_made_from(pinned: Study) -> None:
    assert keys_after_gc(pinned) == {"a" * 32, "b" * 32}
    drop_release(pinned.store, "spring")
    assert keys_after_gc(pinned) == set()


def altered_name(text: str) -> str:
    """Other text that reads just as well."""
    assert '"1": "1"' in text
    return text.replace('"1": "1"', '"1": "9"')


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[: len(text) // 2], lambda _: "", lambda text: text.replace("a" * 32, "c" * 32), altered_name],
    ids=["truncated", "empty", "another key", "another name"],
)
def test_a_damaged_release_is_refused_in_one_line_and_nothing_is_collected(
    pinned: Study, damage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(pinned.store.base.path) / "releases" / "spring.json"
    path.write_text(damage(path.read_text()))
    for words in (("release", "list", pinned.folder), ("gc", pinned.folder, "--keep-days", "0")):
        assert str(path) in the_one_error(stalign(capsys, *words))
    audit = stalign(capsys, "audit", pinned.folder, "--verify")
    assert audit.code == 1 and f"mismatch: {path}: " in audit.out
    damaged = path.read_text()
    doctor = stalign(capsys, "doctor", pinned.folder, "--repair")
    assert doctor.code == 1 and f"release {path}: " in doctor.out and "left as it is: put back a copy" in doctor.out
    assert path.read_text() == damaged
    assert keys_after_gc(pinned) == {"a" * 32, "b" * 32}


def test_a_release_under_the_name_of_another_is_refused(pinned: Study, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(pinned.store.base.path) / "releases" / "spring.json"
    path.rename(path.with_name("summer.json"))
    assert "is release spring" in the_one_error(stalign(capsys, "release", "list", pinned.folder))


def test_a_pinned_artifact_that_is_damaged_keeps_what_it_was_made_from(
    pinned: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    domains = pinned.store.find("cohort/harmony/domains", "P01", "a" * 32)
    assert domains is not None
    (Path(domains.folder.path) / "manifest.json").write_text("{")
    told = the_one_error(stalign(capsys, "gc", pinned.folder, "--keep-days", "0"))
    assert "release spring: names cohort/harmony/domains" in told and "release unpin STUDY spring" in told
    assert keys_after_gc(pinned) == {"b" * 32}
    drop_release(pinned.store, "spring")
    assert keys_after_gc(pinned) == set()

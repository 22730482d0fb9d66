"""Releases of domains: pinned, compared, gone on with after an integration, never collected."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stalign_assets.garbage import collect_garbage
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import everything_kept, stalign, the_one_error
from tests.assets.conftest import run

DOMAINS = "cohort/harmony/domains"


def key_of(study: Path, asset: str = DOMAINS) -> str:
    artifact = open_study(study).store.current(asset, UNPARTITIONED)
    assert artifact is not None
    return artifact.manifest.input_key


def rows_of(study: Path) -> list[dict[str, str]]:
    with (study / "reports" / "domains_cohort_harmony.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_release_is_gone_on_with_and_never_collected(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(row["stable_domain"] == row["domain"] for row in rows_of(study))
    assert stalign(capsys, "release", "pin", study, "spring").out.startswith("release spring: domains of uncorrected")
    pinned = key_of(study)
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


def test_a_name_that_no_file_may_have_and_a_release_that_is_not_there_are_refused(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expected [A-Za-z0-9]" in the_one_error(stalign(capsys, "release", "pin", study, "../x"))
    assert "is not pinned; expected one of none" in the_one_error(stalign(capsys, "release", "compare", study, "x"))

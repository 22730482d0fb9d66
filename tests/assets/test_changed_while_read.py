"""Raw files that change between the hash that names an artifact and the reading of what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stalign_assets.materialise import Materialisation, Step, materialise
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core import morphology
from stalign_core.errors import InputChangedError
from stalign_core.readers import read_sample
from stalign_core.store.refusals import refusal_of
from tests.assets import bad_inputs as bad
from tests.assets.bad_inputs import DONOR, SAMPLE, stalign, the_one_error
from tests.assets.spoiled import Place

pytestmark = pytest.mark.slow

RAW, MORPHOLOGY = "raw_samples", "morphology_embeddings/texture"


def make(place: Place, asset: str) -> Materialisation:
    study = open_study(place.study)
    recipes = recipes_of(study.settings)
    return materialise(Step(study, recipes, recipes[asset], DONOR, "run", lambda *_: None, lambda _: None))


def n_labelled(made: Materialisation) -> int:
    return int(made.artifact.table(f"{SAMPLE}.labels.parquet")["label"].notna().sum())


def without_labels(path: Path, n_rows: int) -> bytes:
    """The annotation without its first rows."""
    header, *rows = path.read_bytes().splitlines(keepends=True)
    return header + b"".join(rows[n_rows:])


def while_reading(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after files were hashed and before the first of them is read."""

    def reading(sample, *arguments, **words):
        happens()
        return read_sample(sample, *arguments, **words)

    monkeypatch.setattr("stalign_core.readers.read_sample", reading)


def test_an_artifact_never_holds_other_bytes_than_those_that_its_key_names(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = place.files.annotation
    first, second = without_labels(labels, 1), without_labels(labels, 2)
    labels.write_bytes(first)
    before = bad.everything_kept(place.study)
    words = ("--scopes", "cohort", "--variants", "uncorrected")
    with monkeypatch.context() as patch:
        while_reading(patch, lambda: labels.write_bytes(second))
        line = the_one_error(stalign(capsys, "run", place.study, *words))
    assert line == (
        f"error: {labels}: changed while it was read; expected a file that stays as it is until it was read; "
        "run again once nothing writes to it"
    )
    assert bad.everything_kept(place.study) == before
    # Nothing is wrong with the donor: the cohort of before stays, and waits.
    store = open_study(place.study).store
    assert refusal_of(store, RAW, DONOR) is None

    labels.write_bytes(first)
    assert stalign(capsys, "run", place.study, *words).code == 0
    made = make(place, RAW)
    labels.write_bytes(second)
    assert made.reused and n_labelled(made) == n_labelled(make(place, RAW)) + 1


def test_a_file_whose_time_alone_changes_while_it_is_read_is_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = place.files.annotation
    labels.write_bytes(without_labels(labels, 1))
    while_reading(monkeypatch, lambda: os.utime(labels, (1, 1)))
    assert not make(place, RAW).reused


def test_a_link_that_leads_elsewhere_while_it_is_followed_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = place.files.annotation
    versions = [labels.with_name(name) for name in ("first", "second")]
    for n_rows, version in enumerate(versions, start=1):
        version.write_bytes(without_labels(labels, n_rows))

    def lead_to(version: Path) -> None:
        labels.unlink()
        labels.symlink_to(version)

    lead_to(versions[0])
    while_reading(monkeypatch, lambda: lead_to(versions[1]))
    with pytest.raises(InputChangedError, match=rf"raw_samples of {DONOR}: reads another \S+/\S+ than was hashed"):
        make(place, RAW)


def test_a_file_that_goes_while_it_is_read_leaves_no_artifact(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = place.files.annotation
    labels.write_bytes(without_labels(labels, 1))
    before = bad.everything_kept(place.study)
    read = read_sample

    def reading(sample, *arguments, **words):
        section = read(sample, *arguments, **words)
        labels.unlink(missing_ok=True)
        return section

    monkeypatch.setattr("stalign_core.readers.read_sample", reading)
    with pytest.raises(Exception, match=rf"{labels}.*cannot be read \(No such file"):
        make(place, RAW)
    assert bad.everything_kept(place.study) == before


def test_a_failure_over_a_file_that_changes_is_not_held_against_the_donor(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = place.files.annotation
    labels.write_bytes(without_labels(labels, 1))
    while_reading(monkeypatch, lambda: bad.annotate_strangers(place.files))
    with pytest.raises(InputChangedError, match=rf"{labels}: changed while it was read"):
        make(place, RAW)
    assert refusal_of(open_study(place.study).store, RAW, DONOR) is None


def test_an_image_that_changes_while_its_patches_are_embedded_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_value(place.study / "study.toml", "morphology", "patch_diameters", 2.0)
    assert make(place, RAW).reused
    embed_with = morphology.embed_with

    def embedding(*arguments, **words):
        with place.files.image.open("ab") as stream:
            stream.write(b"\0")
        return embed_with(*arguments, **words)

    monkeypatch.setattr(morphology, "embed_with", embedding)
    with pytest.raises(InputChangedError, match=rf"{place.files.image}: changed while it was read"):
        make(place, MORPHOLOGY)

"""Notes of what could not be made: kept beside the artifacts, on a disk as on a remote store, and taken for none."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from stalign_core.store import Store
from stalign_core.store.refusals import Refusal, lift_refusal, refusal_of, refuse

PLACE = ("morphology_embeddings/texture", "P01")
REFUSAL = Refusal("0123abcd", "slides/P01.tif: is incomplete")


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    base = tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return Store(base, cache=tmp_path / "cache")


def test_a_refusal_stands_until_it_is_lifted_or_replaced(store: Store) -> None:
    assert refusal_of(store, *PLACE) is None
    refuse(store, *PLACE, REFUSAL)
    assert refusal_of(store, *PLACE) == REFUSAL
    refuse(store, *PLACE, Refusal("", "another"))
    assert refusal_of(store, *PLACE) == Refusal("", "another")
    assert refusal_of(store, PLACE[0], "P02") is None
    lift_refusal(store, *PLACE)
    assert refusal_of(store, *PLACE) is None
    lift_refusal(store, *PLACE)


def test_a_refusal_is_no_artifact_and_leaves_nothing_beside_it(store: Store) -> None:
    refuse(store, *PLACE, REFUSAL)
    assert store.current(*PLACE) is None
    assert list(store.artifacts()) == []
    assert list(store.in_force()) == []
    assert [path.name for path in (store.base / PLACE[0] / PLACE[1]).iterdir()] == ["refused.json"]


@pytest.mark.parametrize("text", ["", "{", '{"line": 3}', "[]", '{"input_key": "a", "line": "b", "more": 1}'])
def test_a_note_that_is_not_whole_still_refuses(store: Store, text: str) -> None:
    refuse(store, *PLACE, REFUSAL)
    (store.base / PLACE[0] / PLACE[1] / "refused.json").write_text(text)
    found = refusal_of(store, *PLACE)
    assert found is not None and found.input_key == ""
    assert found.line.endswith("refused.json is not whole")

"""While a store remembers, it looks at each small file once; what it writes itself it sees at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stalign_core.store import Store
from stalign_core.store.refusals import Refusal, lift_refusal, refusal_of, refuse
from tests.core.store.test_store import commit_example


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, memory_store: Store) -> Counter[str]:
    """How often each place was read."""
    counted: Counter[str] = Counter()
    read = memory_store.backend.read

    def counting(place: str) -> bytes | None:
        counted[place.rsplit("/", 1)[-1]] += 1
        return read(place)

    monkeypatch.setattr(memory_store.backend, "read", counting)
    return counted


@pytest.fixture
def memory_store(tmp_path: Path) -> Store:
    return Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


def look(store: Store) -> None:
    for _ in range(3):
        store.current("features", "A")
        refusal_of(store, "features", "A")


def test_each_small_file_is_read_once_while_it_is_open_and_again_afterwards(
    memory_store: Store, reads: Counter[str]
) -> None:
    commit_example(memory_store)
    reads.clear()
    with memory_store.remembering(), memory_store.remembering():
        look(memory_store)
        with memory_store.remembering():
            look(memory_store)
    assert set(reads.values()) == {1} and len(reads) == 3
    look(memory_store)
    assert set(reads.values()) == {4}


def test_what_the_store_writes_itself_is_seen_at_once(memory_store: Store) -> None:
    with memory_store.remembering():
        assert memory_store.current("features", "A") is None
        first = commit_example(memory_store)
        assert memory_store.current("features", "A") == first
        second = commit_example(memory_store, key="k2", value=2.0)
        assert memory_store.current("features", "A") == second
        memory_store.discard(first.folder)
        assert memory_store.find("features", "A", "k1") is None
        assert refusal_of(memory_store, "features", "A") is None
        refuse(memory_store, "features", "A", Refusal("k3", "no"))
        assert refusal_of(memory_store, "features", "A") == Refusal("k3", "no")
        lift_refusal(memory_store, "features", "A")
        assert refusal_of(memory_store, "features", "A") is None


def test_what_another_process_writes_is_seen_afterwards(memory_store: Store, tmp_path: Path) -> None:
    other = Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
    with memory_store.remembering():
        assert memory_store.current("features", "A") is None
        commit_example(other)
        assert memory_store.current("features", "A") is None
    assert memory_store.current("features", "A") is not None

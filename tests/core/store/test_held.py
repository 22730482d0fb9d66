"""What was found to hold is not hashed again until it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stalign_core.errors import ArtifactError
from stalign_core.store import Artifact, Store
from stalign_core.store.held import HeldArtifacts
from tests.core.store.test_store import commit_example
from tests.file_accesses import FileAccesses


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return commit_example(Store(tmp_path / "store"))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "held.json"


def files_of(artifact: Artifact) -> set[Path]:
    return {Path(artifact.location(name).path) for name in artifact.manifest.files}


def read_by(held: HeldArtifacts, artifact: Artifact) -> set[Path]:
    """Files of an artifact that its verification reads."""
    with FileAccesses(files_of(artifact)) as accesses:
        held.verify(artifact)
        return accesses.take()


def test_files_that_stand_are_read_once_by_this_process_and_by_later_ones(artifact: Artifact, memory: Path) -> None:
    held = HeldArtifacts(memory)
    assert read_by(held, artifact) == files_of(artifact)
    assert read_by(held, artifact) == set()
    assert read_by(HeldArtifacts(memory), artifact) == files_of(artifact), "nothing was saved"
    held.save()
    assert read_by(HeldArtifacts(memory), artifact) == set()


def test_a_file_that_changed_is_hashed_again(artifact: Artifact, memory: Path) -> None:
    held = HeldArtifacts(memory)
    held.verify(artifact)
    path = Path(artifact.location("facts.json").path)
    text = path.read_text()
    path.unlink()
    path.write_text(text)
    assert read_by(held, artifact) == files_of(artifact)
    path.write_text(text.replace("hexagonal", "hexagonam"))
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"facts\.json is missing or not what was stored"):
            held.verify(artifact)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"facts\.json is missing"):
        held.verify(artifact)


def test_a_broken_memory_and_a_place_that_takes_none_cost_hashing_alone(artifact: Artifact, memory: Path) -> None:
    memory.write_text("[")
    held = HeldArtifacts(memory)
    assert read_by(held, artifact) == files_of(artifact)
    held.save()
    assert read_by(HeldArtifacts(memory), artifact) == set()
    nowhere = HeldArtifacts(memory / "below_a_file" / "held.json")
    nowhere.verify(artifact)
    nowhere.save()


def test_what_is_gone_is_forgotten(artifact: Artifact, memory: Path, tmp_path: Path) -> None:
    held = HeldArtifacts(memory)
    held.verify(artifact)
    held.save()
    Path(artifact.folder.path).rename(tmp_path / "elsewhere")
    other = commit_example(Store(tmp_path / "other"))
    held.verify(other)
    held.save()
    assert list(json.loads(memory.read_text())) == [other.folder.path]

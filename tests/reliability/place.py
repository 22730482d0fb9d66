"""A finished study to be broken: copies that share the artifacts' bytes with it, and processes that work on them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stalign_assets.materialise import Step, materialise
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.study import Study, open_study
from stalign_assets.threads import limit_threads
from stalign_assets.wanted import folds_of
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED

DONOR = "P01"
PATIENCE = 240.0

_PROCESSES = multiprocessing.get_context("forkserver")
# The imports of a run, once: every process of a case is forked from one that has them.
_PROCESSES.set_forkserver_preload(
    [
        "stalign_assets.driver",
        "stalign_assets.platform.build",
        "stalign_core.integration",
        "scanpy",
        "lightning",
        "harmonypy",
        "scib_metrics",
        "duckdb",
        "tests.reliability.cases",
    ]
)


@dataclass(frozen=True)
class Place:
    """A copy of the finished study, and the one that it was copied from."""

    folder: Path
    original: Path

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return open_study(self.folder)

    def current(self, asset: str, partition: str) -> Artifact:
        """The artifact in force."""
        artifact = self.study.store.current(asset, partition)
        assert artifact is not None
        return artifact

    def forget(self, asset: str, partition: str = "") -> None:
        """Take an asset's artifact, or those of every partition, out of the store, as if it had never been made."""
        shutil.rmtree(Path(self.study.store.base.path) / asset / partition)

    def file_of(self, asset: str, partition: str, ending: str = "") -> Path:
        """The first file of the artifact in force whose name ends so."""
        artifact = self.current(asset, partition)
        return Path(artifact.folder.path) / next(name for name in artifact.manifest.files if name.endswith(ending))

    def assert_converged(self, asset: str, partition: str) -> None:
        """The artifact in force is whole, of the same key and the same bytes as in the untouched study."""
        assert_alike(self.current(asset, partition), self.untouched.current(asset, partition))

    def assert_all_converged(self, *assets: str) -> None:
        """Of assets that nothing points to: every artifact of the untouched study is there again, and no other."""
        made, reference = self._all_of(assets), self.untouched._all_of(assets)
        assert reference and made.keys() == reference.keys()
        for key, artifact in made.items():
            assert_alike(artifact, reference[key])

    @property
    def untouched(self) -> Place:
        """The study that this one was copied from."""
        return Place(self.original, self.original)

    def _all_of(self, assets: Collection[str]) -> dict[str, Artifact]:
        found = (artifact for artifact in self.study.store.artifacts() if artifact.manifest.asset in assets)
        return {artifact.manifest.input_key: artifact for artifact in found}


def assert_alike(made: Artifact, reference: Artifact) -> None:
    """An artifact is whole, and of the same key and the same bytes as another."""
    made.verify()
    assert made.manifest.input_key == reference.manifest.input_key
    ours, theirs = bytes_of(made), bytes_of(reference)
    assert [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)] == []
    assert made.manifest.data_version == reference.manifest.data_version


def bytes_of(artifact: Artifact) -> dict[str, str]:
    """SHA-256 of each file as it lies on the disk, but of notes, which hold seconds and count in nothing."""
    folder, files = Path(artifact.folder.path), artifact.manifest.files
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name, record in files.items()
        if record.content or not name.endswith(".json")
    }


def copy_of(original: Path, folder: Path) -> Place:
    """A copy as deep in the file tree as the original; artifacts are linked, so none may be written into in place."""
    shutil.copytree(original, folder, copy_function=_link_artifacts)
    return Place(folder, original)


def rewrite(path: Path, payload: bytes) -> None:
    """Other bytes under a name, without touching those that a link shares."""
    path.unlink()
    path.write_bytes(payload)


def partition_of(study: Study, asset: str) -> str:
    """Where an asset is looked at: the first donor or fold, or the cohort."""
    return partitions_of(study, asset)[0]


def partitions_of(study: Study, asset: str) -> tuple[str, ...]:
    """Every partition of an asset."""
    partitioning = recipes_of(study.settings)[asset].partitioning
    if partitioning == "fold":
        return folds_of(study)
    return study.cohort.donors if partitioning == "donor" else (UNPARTITIONED,)


def make(folder: Path, asset: str, partition: str) -> None:
    """Materialise one asset, without Dagster."""
    study = open_study(folder)
    recipes = recipes_of(study.settings)
    limit_threads(study.settings.execution.threads)
    materialise(Step(study, recipes, recipes[asset], partition, "run", lambda *_: None, lambda _: None))


def make_each(folder: Path, assets: Sequence[str], partition: str = "") -> None:
    """Materialise assets one after the other, without Dagster, in one partition or in all that each has."""
    study = open_study(folder)
    for asset in assets:
        for each in [partition] if partition else partitions_of(study, asset):
            make(folder, asset, each)


def begin(work: Callable[..., None], *arguments: Any) -> Any:
    """Start a process of its own."""
    process = _PROCESSES.Process(target=work, args=arguments)
    process.start()
    return process


def end(process: Any) -> int:
    """Its exit code: 0, or the negative number of the signal that killed it."""
    process.join(PATIENCE)
    assert process.exitcode is not None, "it hangs"
    code: int = process.exitcode
    return code


def carry_out(work: Callable[..., None], *arguments: Any) -> int:
    """Run to its end in a process of its own."""
    return end(begin(work, *arguments))


def _link_artifacts(source: str, target: str) -> str:
    if "/store/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
    return target

"""Hashing again all that an artifact rests on: the files of artifacts, and raw files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stalign_core.errors import ArtifactError, InputDataError, StalignError
from stalign_core.progress import Progress, silent
from stalign_core.store.fingerprints import ForgetfulFingerprints
from stalign_core.store.manifest import data_version_of

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Artifact, SourceRecord


@dataclass
class Verification:
    """What was hashed again, and one line for each mismatch."""

    n_artifacts: int = 0
    n_files: int = 0
    n_raw_files: int = 0
    n_bytes: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    """Raw files that lie elsewhere now, with the same bytes: old path and new one."""
    mismatches: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "artifacts": self.n_artifacts,
            "files": self.n_files,
            "raw_files": self.n_raw_files,
            "bytes": self.n_bytes,
            "moved": self.moved,
            "mismatches": self.mismatches,
        }

    def lines(self) -> list[str]:
        """For a reader."""
        lines = [f"moved: {old} is {new} now" for old, new in self.moved.items()]
        lines += [f"mismatch: {line}" for line in self.mismatches]
        verdict = f"{len(self.mismatches)} mismatches" if self.mismatches else "all as stored"
        hashed = f"{self.n_files} files of {self.n_artifacts} artifacts and {self.n_raw_files} raw files"
        return [*lines, f"hashed {hashed}, {self.n_bytes / 1e6:.1f} MB: {verdict}"]


def verify(
    study: Study,
    recipes: Mapping[str, Recipe],
    artifacts: Sequence[Artifact],
    faults: Iterable[str] = (),
    progress: Progress = silent,
) -> Verification:
    """Hash every file of `artifacts` and every raw file that they were made from; nothing remembered is trusted.

    Parameters
    ----------
    faults
        Mismatches that are known already.
    progress
        Told the artifact, then the raw file, that is hashed.
    """
    done = Verification(mismatches=list(faults))
    sources: dict[tuple[str, str], tuple[SourceRecord, str]] = {}
    for n_before, artifact in enumerate(artifacts):
        progress(f"hashing {artifact.name}", n_before, len(artifacts))
        _verify_artifact(artifact, done)
        for record in artifact.manifest.sources:
            sources[record.path, record.sha256] = (record, artifact.manifest.partition)
    fingerprints = ForgetfulFingerprints()
    for n_before, (record, donor) in enumerate(sources.values()):
        progress(f"hashing {Path(record.path).name}", n_before, len(sources))
        _verify_source(study, recipes, record, donor, fingerprints, done)
    return done


def _verify_artifact(artifact: Artifact, done: Verification) -> None:
    done.n_artifacts += 1
    if data_version_of(artifact.manifest.files) != artifact.manifest.data_version:
        done.mismatches.append(f"{artifact.name}: its data version does not follow from its files' content")
    for name, record in artifact.manifest.files.items():
        done.n_files += 1
        done.n_bytes += record.size
        try:
            artifact.file(name)
        except ArtifactError as error:
            done.mismatches.append(error.line)


def _verify_source(
    study: Study,
    recipes: Mapping[str, Recipe],
    record: SourceRecord,
    donor: str,
    fingerprints: ForgetfulFingerprints,
    done: Verification,
) -> None:
    done.n_raw_files += 1
    done.n_bytes += record.size
    path = Path(record.path)
    if not path.exists():
        found = _elsewhere(study, recipes, record, donor, fingerprints)
        if found is None:
            done.mismatches.append(f"{path}: is missing; expected SHA-256 {record.sha256}")
        else:
            done.moved[record.path] = str(found)
        return
    try:
        sha256 = fingerprints.record(path).sha256
    except InputDataError as error:
        done.mismatches.append(error.line)
        return
    if sha256 != record.sha256:
        done.mismatches.append(f"{path}: has SHA-256 {sha256}; expected {record.sha256}")


def _elsewhere(
    study: Study,
    recipes: Mapping[str, Recipe],
    record: SourceRecord,
    donor: str,
    fingerprints: ForgetfulFingerprints,
) -> Path | None:
    """Where the sample sheet has the same bytes now, under the same name."""
    for recipe in recipes.values():
        if recipe.sources is None or donor not in study.cohort.donors:
            continue
        try:
            named = [source.path for source in recipe.sources(study, donor)]
            for path in named:
                if path.name == Path(record.path).name and fingerprints.record(path).sha256 == record.sha256:
                    return path
        except StalignError:
            continue
    return None

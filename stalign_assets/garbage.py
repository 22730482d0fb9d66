"""What a study no longer needs: found by what is still needed, and removed while no run is at work."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import is_idle, store_alone
from stalign_assets.study import RUN_SETTINGS_FOLDER, UNFINISHED_FOLDER, Study
from stalign_core.errors import ArtifactError, StudyError
from stalign_core.progress import Progress, silent
from stalign_core.store import Artifact
from stalign_core.store.fetched import READERS
from stalign_core.store.releases import releases_of
from stalign_core.store.staging import STAGING, last_change

if TYPE_CHECKING:
    import dagster as dg
    from upath import UPath

Kind = Literal["artifacts", "damaged artifacts", "unfinished uploads", "staging", "run settings", "cache"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Place = tuple[str, str, str]
"""Asset, partition and input key of an artifact."""


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing needs; those of the store may lie on a remote filesystem."""

    kind: Kind
    path: Path | UPath


@dataclass
class Collected:
    """What was, or would be, removed: paths and the bytes that they free, by kind."""

    dry_run: bool
    paths: dict[Kind, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    n_bytes: Counter[Kind] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    """One line for each artifact that is left alone because its manifest is not whole."""

    def lines(self) -> list[str]:
        """For a reader."""
        removed, freed = ("to remove", "would free") if self.dry_run else ("removed", "freed")
        lines = [
            f"{kind}: {len(self.paths[kind])} {removed}, {_megabytes(self.n_bytes[kind])}"
            for kind in KINDS
            if self.paths[kind]
        ]
        return [*lines, *self.left_alone(), f"{freed} {_megabytes(self.n_bytes.total())}"]

    def left_alone(self) -> list[str]:
        """What cannot be read, and is not removed, for a reader."""
        return [f"left alone: {line}" for line in self.unreadable]

    def to_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "dry_run": self.dry_run,
            "bytes": self.n_bytes.total(),
            "removed": {kind: {"bytes": self.n_bytes[kind], "paths": self.paths[kind]} for kind in KINDS},
            "unreadable": self.unreadable,
        }


def collect_garbage(
    study: Study,
    instance: dg.DagsterInstance,
    *,
    keep_days: int,
    dry_run: bool = False,
    now: datetime | None = None,
    progress: Progress = silent,
) -> Collected:
    """Remove what nothing needs, or with `dry_run` only say what that is.

    Parameters
    ----------
    keep_days
        What could still be of use, such as the results of earlier settings, is removed once it is older.
    now
        Ages count from then; the present by default.
    progress
        Told of each artifact that is looked at, and before each removal.

    Raises
    ------
    StudyError
        If a run is at work, or a release names what is not there.
    ArtifactError
        If an artifact in force cannot be read, so that what it was made from cannot be told.
    """
    before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    collected = Collected(dry_run)
    with store_alone(study), naming_full_disk(f"store {study.store.base}", "nothing could be removed"):
        found = list(_find(study, instance, before, collected.unreadable, progress))
        _count(found, collected)
        for done, garbage in () if dry_run else enumerate(found):
            progress(f"removing {garbage.kind}", done, len(found))
            _remove(study, garbage)
    return collected


def roots(study: Study, progress: Progress = silent) -> set[Place]:
    """Artifacts that are kept with all that they were made from: those in force, and those of releases."""
    return {_place(artifact) for artifact in study.store.in_force(progress)} | set(_pinned(study))


def _pinned(study: Study) -> dict[Place, str]:
    """Artifacts of releases, and the release."""
    return {
        (each.asset, each.partition, each.input_key): release.name
        for release in releases_of(study.store)
        for each in release.pinned.values()
    }


def _find(
    study: Study, instance: dg.DagsterInstance, before: datetime, unreadable: list[str], progress: Progress
) -> Iterator[Garbage]:
    damaged: list[ArtifactError] = []
    artifacts = {_place(artifact): artifact for artifact in study.store.artifacts(damaged.append, progress)}
    unreadable += [error.line for error in damaged]
    _check_releases(study, artifacts)
    needed = _with_ancestors(roots(study, progress), artifacts)
    kept = {
        place: artifact
        for place, artifact in artifacts.items()
        if place in needed or datetime.fromisoformat(artifact.manifest.created) > before
    }
    for place, artifact in artifacts.items():
        if place not in kept:
            yield Garbage("artifacts", artifact.folder)
    since = before.timestamp()
    for folder in study.store.set_aside():
        if study.store.last_change(folder) <= since:
            yield Garbage("damaged artifacts", folder)
    for folder in study.store.unfinished():
        if study.store.last_change(folder) <= since:
            yield Garbage("unfinished uploads", folder)
    yield from (Garbage("staging", folder) for folder in study.store.staging_leftovers(since))
    yield from (Garbage("run settings", path) for path in _idle_run_settings(study, instance, kept.values(), since))
    yield from (Garbage("cache", path) for path in _idle_cache(study, kept, since))


def _check_releases(study: Study, artifacts: dict[Place, Artifact]) -> None:
    """Of a pinned artifact that cannot be read it cannot be told what it was made from."""
    for place, release in _pinned(study).items():
        if place not in artifacts:
            asset, _, input_key = place
            raise StudyError(
                f"release {release}",
                f"names {asset} {input_key}, which is not whole in the store; nothing is removed",
                remedy=f"put back a copy of it, or give it up with 'stalign release unpin STUDY {release}'",
            )


def _place(artifact: Artifact) -> Place:
    manifest = artifact.manifest
    return manifest.asset, manifest.partition, manifest.input_key


def _with_ancestors(places: set[Place], artifacts: dict[Place, Artifact]) -> set[Place]:
    """These artifacts and all that they were made from, as far as it is still there."""
    needed: set[Place] = set()
    pending = list(places)
    while pending:
        place = pending.pop()
        if place in needed or place not in artifacts:
            continue
        needed.add(place)
        inputs = artifacts[place].manifest.inputs
        pending += [(record.asset, record.partition, record.input_key) for record in inputs]
    return needed


def _idle_run_settings(
    study: Study, instance: dg.DagsterInstance, kept: Iterable[Artifact], since: float
) -> Iterator[Path]:
    """Settings of runs that are over and made nothing that is kept."""
    told_of = {artifact.manifest.run_id for artifact in kept}
    for path in _entries(study.dagster_home / RUN_SETTINGS_FOLDER):
        run = instance.get_run_by_id(path.stem)
        is_over = run is None or run.is_finished
        if is_over and path.stem not in told_of and last_change(path) <= since:
            yield path


def _idle_cache(study: Study, kept: dict[Place, Artifact], since: float) -> Iterator[Path]:
    """Unfinished work that nobody went on with, and fetched files: of what is not kept, and more than there may be.

    A lock that is removed while it is held can be taken by another: of those of killed computations only what nobody
    holds is removed, which no run can take meanwhile; any other lock stays, whatever its age.
    """
    cache = study.store.cache
    unfinished = cache / UNFINISHED_FOLDER
    for path in _entries(unfinished):
        if last_change(path) <= since and (not _is_lock(path) or is_idle(path)):
            yield path
    fetched = set() if study.store.is_local else {cache.joinpath(*place) for place in kept}
    leading_there = {parent for path in fetched for parent in path.parents}
    pending = [path for path in _entries(cache) if path not in (unfinished, cache / STAGING, cache / READERS)]
    while pending:
        path = pending.pop(0)
        if _is_lock(path):
            continue
        if path in leading_there:
            pending += _entries(path)
        elif path not in fetched:
            yield path
    if fetched:
        yield from (path for path in study.store.fetched.surplus() if fetched.intersection(path.parents))


def _is_lock(path: Path) -> bool:
    return path.suffix == ".lock" and path.is_file()


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _count(found: Iterable[Garbage], collected: Collected) -> None:
    """Artifacts share files by links: bytes are freed with the last of a file's names."""
    names: Counter[tuple[int, int]] = Counter()
    for garbage in found:
        collected.paths[garbage.kind].append(str(garbage.path))
        if not isinstance(garbage.path, Path):
            collected.n_bytes[garbage.kind] += int(garbage.path.fs.du(garbage.path.path))
            continue
        for path in (garbage.path, *garbage.path.rglob("*")):
            status = path.lstat()
            names[status.st_dev, status.st_ino] += 1
            if path.is_file() and names[status.st_dev, status.st_ino] == status.st_nlink:
                collected.n_bytes[garbage.kind] += status.st_size


def _remove(study: Study, garbage: Garbage) -> None:
    path = garbage.path
    if garbage.kind in ("artifacts", "damaged artifacts", "unfinished uploads") or not isinstance(path, Path):
        study.store.remove(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""Pointers and artifacts of the store that are not whole, and what killed writers left. Needs the store to itself."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_assets.doctor.finding import Finding
from stalign_assets.exporting import EXPORTS_FOLDER
from stalign_assets.study import Study
from stalign_core.errors import ArtifactError, MissingArtifactError, NewerArtifactError, StudyError
from stalign_core.store import releases
from stalign_core.store.backend import SET_ASIDE
from stalign_core.store.hashing import KEY_LENGTH
from stalign_core.store.staging import STAGING

if TYPE_CHECKING:
    from stalign_core.store import Artifact

_POINTER: Final = "current.json"
_ASIDE: Final = "moved aside, its bytes kept; the next run computes it anew if it is wanted"
_UNFINISHED_WRITE: Final = re.compile(r"\..+\.[0-9a-f]{32}(\.wal)?")
"""How every file is called that is written beside the one it is to replace."""
_UNFINISHED_EXPORT: Final = re.compile(r"\.atlas\.h5ad\.\w+|\.atlas\.[0-9a-f]{32}\.zarr")
"""How folders are called in which an atlas takes shape."""
_MOVED_ASIDE: Final = re.compile(r"\.(atlas\.zarr)\.[0-9a-f]{32}")
"""How a folder is called while another takes its place."""


def broken_artifacts(study: Study) -> Iterator[Finding]:
    """Artifacts whose manifest is not whole, or whose files are missing or of another size.

    Bytes that changed without changing a size are found by whoever reads them, or by rehashing everything.
    """
    from upath import UPath

    errors: list[ArtifactError] = []
    artifacts = list(study.store.artifacts(errors.append))
    for error in errors:
        if not isinstance(error, NewerArtifactError):
            folder = UPath(error.where).parent
            yield Finding("artifact", str(folder), error.problem, _ASIDE, partial(study.store.discard, folder))
    for artifact in artifacts if study.store.is_local else ():
        problem = _missing_bytes(artifact)
        if problem:
            where = str(artifact.folder)
            yield Finding("artifact", where, problem, _ASIDE, partial(study.store.discard, artifact.folder))


def broken_pointers(study: Study) -> Iterator[Finding]:
    """Pointers that cannot be read, or point at what is not there; they are set to what they most likely meant."""
    for place in study.store.backend.named(_POINTER):
        asset, partition, _ = place.rsplit("/", 2)
        try:
            study.store.current(asset, partition)
            continue
        except NewerArtifactError:
            continue
        except MissingArtifactError as error:
            problem = error.problem
        except ArtifactError as error:
            problem = error.problem
        where, payload = str(study.store.base / place), study.store.read_note(place) or b""
        meant = _meant(study, asset, partition, payload)
        if meant is None:
            mend = partial(_set_aside, study, place, payload)
            yield Finding("pointer", where, problem, "moved aside; the next run sets it anew", mend)
            continue
        cure = f"set to {meant.manifest.input_key}, made {meant.manifest.created}"
        yield Finding("pointer", where, problem, cure, partial(study.store.point, meant))


def broken_releases(study: Study) -> Iterator[Finding]:
    """Releases that cannot be read, or name what is not there: only whoever pinned them can tell what they meant."""
    for error in releases.broken_releases(study.store):
        yield Finding("release", error.where, error.problem, error.remedy, partial(_leave, error.where))


def leftovers(study: Study) -> Iterator[Finding]:
    """Staging folders of dead processes, and files that were being written beside those they were to replace."""
    for folder in study.store.staging_leftovers(untouched_since=0.0):
        yield Finding("leftover", str(folder), "was left by a killed process", "removed", study.store.sweep_staging)
    for folder in sorted((study.folder / EXPORTS_FOLDER).glob("*/.*")):
        if folder.is_dir():
            yield from _unfinished_export(folder)
    for path in _unfinished_writes(study):
        yield Finding(
            "leftover", str(path), "was not written to its end", "removed", partial(path.unlink, missing_ok=True)
        )


def _missing_bytes(artifact: Artifact) -> str:
    for name, record in artifact.manifest.files.items():
        path = Path(artifact.folder.path) / name
        if not path.is_file():
            return f"its file {name} is missing"
        if path.stat().st_size != record.size:
            return f"its file {name} has {path.stat().st_size} bytes instead of {record.size}"
    return ""


def _meant(study: Study, asset: str, partition: str, pointer: bytes) -> Artifact | None:
    """The artifact that the readable rest of a pointer names, else the newest of its asset and partition."""
    named = re.search(rb'"input_key": "([0-9a-f]{%d})"' % KEY_LENGTH, pointer)
    if named is not None:
        with suppress(ArtifactError):
            found = study.store.find(asset, partition, named[1].decode())
            if found is not None:
                return found
    whole = []
    for folder in (study.store.base / asset / partition).iterdir():
        with suppress(ArtifactError):
            found = study.store.find(asset, partition, folder.name)
            if found is not None:
                whole.append(found)
    return max(whole, key=lambda artifact: artifact.manifest.created, default=None)


def _unfinished_export(folder: Path) -> Iterator[Finding]:
    remove = partial(shutil.rmtree, folder, ignore_errors=True)
    aside = _MOVED_ASIDE.fullmatch(folder.name)
    if aside is not None and not folder.with_name(aside[1]).exists():
        put_back = partial(folder.rename, folder.with_name(aside[1]))
        yield Finding("leftover", str(folder), "was moved aside, and nothing took its place", "put back", put_back)
    elif aside is not None:
        yield Finding("leftover", str(folder), "another has taken its place", "removed", remove)
    elif _UNFINISHED_EXPORT.fullmatch(folder.name) is not None:
        yield Finding("leftover", str(folder), "was not written to its end", "removed", remove)


def _unfinished_writes(study: Study) -> Iterator[Path]:
    for folder in (study.folder, study.dagster_home, study.dagster_home / "run_settings"):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if _is_unfinished(path))
    for folder in (study.reports, study.folder / EXPORTS_FOLDER):
        yield from (path for path in sorted(folder.rglob(".*")) if _is_unfinished(path))
    if study.store.is_local:
        base = Path(study.store.base.path)
        for path in sorted(base.rglob(".*")):
            if STAGING not in path.relative_to(base).parts and _is_unfinished(path):
                yield path


def _is_unfinished(path: Path) -> bool:
    return path.is_file() and _UNFINISHED_WRITE.fullmatch(path.name) is not None


def _leave(where: str) -> None:
    raise StudyError(
        where,
        "its names are kept nowhere else, so nothing is changed",
        remedy="put back a copy, or delete it and pin again",
    )


def _set_aside(study: Study, place: str, payload: bytes) -> None:
    """Keep the bytes of a pointer beside it, then remove it."""
    study.store.write_note(f"{place}{SET_ASIDE}{uuid.uuid4().hex[:8]}", payload)
    study.store.remove_note(place)

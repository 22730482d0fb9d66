"""Artifacts in a folder of this machine, or of a filesystem that is mounted on it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stalign_core.store.backend import SET_ASIDE, Origin, holds, place_of
from stalign_core.store.fingerprints import stamp_of
from stalign_core.store.manifest import MANIFEST, Manifest
from stalign_core.store.staging import STAGING, last_change, staging_name

if TYPE_CHECKING:
    from upath import UPath


class LocalFolder:
    """A `Backend` on a mounted filesystem: files are read where they lie, and a rename commits them."""

    def __init__(self, base: UPath) -> None:
        self.base = base
        self._folder = Path(base.path)

    @property
    def staging_parent(self) -> Path:
        """Beside the artifacts, so that a rename commits."""
        return self._folder / STAGING

    def prepare(self) -> None:
        """Whether the folder can be written shows when the staging folder is made."""

    def read(self, place: str) -> bytes | None:
        """The bytes of a small file, or None if there is none."""
        try:
            return (self._folder / place).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def replace(self, place: str, payload: bytes) -> None:
        """Write beside, synced, and rename."""
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            write_synced(temporary, payload)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def delete(self, place: str) -> None:
        """Remove a small file, if it is there."""
        with suppress(FileNotFoundError, NotADirectoryError):
            (self._folder / place).unlink()

    def commit(self, staging: Path, manifest: Manifest, taken_over: Mapping[str, Origin]) -> None:  # noqa: ARG002
        """Rename the staging folder once everything in it has reached the disk."""
        for path in staging.rglob("*"):
            if path.is_file():
                _sync_file(path)
        for path in [*(p for p in staging.rglob("*") if p.is_dir()), staging]:
            _sync_folder(path)
        target = self._folder / place_of(manifest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():
                raise
            if not (target / MANIFEST).is_file():
                self.set_aside(place_of(manifest))
                staging.rename(target)
        _sync_folder(target.parent)

    def file(self, manifest: Manifest, name: str) -> Path | None:
        """The file where it lies, if its bytes are those that were stored."""
        path = self._folder / place_of(manifest) / name
        return path if holds(path, manifest.files[name]) else None

    def damaged(self, manifest: Manifest) -> str | None:
        """The first file that does not hold: each is read."""
        return next((name for name in manifest.files if self.file(manifest, name) is None), None)

    def location(self, manifest: Manifest, name: str) -> UPath:
        """Where a file of an artifact lies."""
        return self.base / place_of(manifest) / name

    def set_aside(self, place: str) -> None:
        """Rename the folder of an artifact."""
        path = self._folder / place
        # Another process may have moved it meanwhile.
        with suppress(FileNotFoundError):
            path.rename(path.with_name(f"{path.name}{SET_ASIDE}{uuid.uuid4().hex[:8]}"))

    def remove(self, place: str) -> None:
        """Rename the folder of an artifact into staging, and remove it there."""
        doomed = self.staging_parent / staging_name()
        doomed.parent.mkdir(exist_ok=True)
        (self._folder / place).rename(doomed)
        shutil.rmtree(doomed)

    def named(self, file_name: str) -> list[str]:
        """Places of all files of this name, outside staging and what was set aside."""
        found = (path.relative_to(self._folder) for path in self._folder.rglob(file_name))
        return sorted(
            path.as_posix()
            for path in found
            if path.parts[0] != STAGING and not any(SET_ASIDE in part for part in path.parts)
        )

    def asides(self) -> list[str]:
        """Folders that were moved out of the way."""
        found = (path for path in self._folder.rglob(f"*{SET_ASIDE}*") if path.is_dir())
        return sorted(path.relative_to(self._folder).as_posix() for path in found)

    def unfinished(self) -> list[str]:
        """None: what is not renamed is still in staging."""
        return []

    def marks(self, place: str) -> dict[str, object] | None:
        """Size, time and inode of each note, and of the manifest of each artifact, by name."""
        try:
            with os.scandir(self._folder / place) as entries:
                return {entry.name: stamp_of(_told_by(entry)) for entry in entries if SET_ASIDE not in entry.name}
        except OSError as error:
            return {"": str(error.strerror)}

    def last_change(self, place: str) -> float:
        """When a folder or anything in it changed last, in seconds since the epoch."""
        return last_change(self._folder / place)


def _told_by(entry: os.DirEntry[str]) -> Path:
    """The file by which a note or an artifact is told from what may take its place."""
    return Path(entry.path, MANIFEST) if entry.is_dir() else Path(entry.path)


def write_synced(path: Path, payload: bytes) -> None:
    """Write a file and wait until it has reached the disk."""
    with path.open("wb") as stream:
        stream.write(payload)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

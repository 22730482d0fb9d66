"""Local copies of the files of a remote store: read by memory mapping, verified at each use, bounded in size."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from stalign_core.store.backend import holds, place_of
from stalign_core.store.manifest import Manifest
from stalign_core.store.staging import STAGING, staging_name, writer_is_gone

READERS: Final = ".readers"
"""Folder of the cache with a note of each process that has read from it."""

_TOKENS: Final = ".seen.json"
_LONGEST_USE_SECONDS: Final = 48 * 3600
_PATIENCE: Final = 0.05
"""Share of the limit that is fetched before the cache is looked through again."""


class FetchedFiles:
    """The cache of a remote store.

    Parameters
    ----------
    root
        Its folder; the files of an artifact lie below ``<asset>/<partition>/<input key>``.
    limit_bytes
        Files that were not used for longest are removed above it, but none that a living process may hold the path
        of: what was used since the oldest such process first read from here, and within two days.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._until_trim: float | None = None
        self._reader: Path | None = None

    def path(self, manifest: Manifest, name: str) -> Path:
        """Where the copy of a file lies, once it was fetched."""
        return self.root / place_of(manifest) / name

    def get(self, manifest: Manifest, name: str, fetch: Callable[[Path], None]) -> Path | None:
        """The verified copy of a file, fetched if there is none that holds; None if what is fetched does not hold.

        Parameters
        ----------
        fetch
            Writes the remote file to a path; may raise `FileNotFoundError`.
        """
        self._register()
        path = self.path(manifest, name)
        if not holds(path, manifest.files[name]) and not self._fetched(manifest, name, fetch):
            return None
        with suppress(FileNotFoundError):
            os.utime(path)
        return path

    def adopt(self, manifest: Manifest, name: str, source: Path) -> None:
        """Take a file that was written here and uploaded, so that it need not be fetched."""
        self._register()
        target = self.path(manifest, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        os.utime(target)
        self._make_room(manifest.files[name].size)

    def tokens(self, manifest: Manifest) -> dict[str, str]:
        """What the remote filesystem said of each file when its bytes were last verified."""
        try:
            known = json.loads(self.path(manifest, _TOKENS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def keep_tokens(self, manifest: Manifest, tokens: dict[str, str]) -> None:
        """Remember what `tokens` returns; what two processes keep at the same moment is only verified once more."""
        path = self.path(manifest, _TOKENS)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TOKENS}.{uuid.uuid4().hex}")
        try:
            temporary.write_text(json.dumps(tokens), encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def surplus(self) -> list[Path]:
        """Files to remove for the cache to keep to its limit, those that were not used for longest first."""
        files = sorted(self._files(), key=lambda file: file[1])
        excess = sum(size for _, _, size in files) - self.limit_bytes
        in_use_since = self._in_use_since()
        chosen = []
        for path, used, size in files:
            if excess <= 0 or used >= in_use_since:
                break
            chosen.append(path)
            excess -= size
        return chosen

    def _fetched(self, manifest: Manifest, name: str, fetch: Callable[[Path], None]) -> bool:
        folder = self.root / STAGING / staging_name()
        folder.mkdir(parents=True)
        part = folder / "file"
        try:
            fetch(part)
            if not holds(part, manifest.files[name]):
                return False
            self.adopt(manifest, name, part)
        except FileNotFoundError:
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _register(self) -> None:
        """Tell other processes from when on this one may hold paths."""
        if self._reader is None or self._reader.name.split("-")[-2] != str(os.getpid()):
            self._reader = self.root / READERS / staging_name()
            self._reader.parent.mkdir(parents=True, exist_ok=True)
            self._reader.touch()

    def _in_use_since(self) -> float:
        since = [time.time()]
        for note in (self.root / READERS).glob("*"):
            if writer_is_gone(note.name):
                note.unlink(missing_ok=True)
                continue
            with suppress(FileNotFoundError):
                since.append(note.stat().st_mtime)
        return max(min(since), time.time() - _LONGEST_USE_SECONDS)

    def _make_room(self, n_bytes: int) -> None:
        self._until_trim = (self._until_trim or 0) - n_bytes
        if self._until_trim > 0:
            return
        for path in self.surplus():
            path.unlink(missing_ok=True)
        held = sum(size for _, _, size in self._files())
        self._until_trim = max(self.limit_bytes - held, self.limit_bytes * _PATIENCE)

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """Path, time of last use and bytes of each copy."""
        for place in self.root.glob("*"):
            # Hidden are staging and readers; unfinished work is no copy.
            if place.name.startswith(".") or place.name == "unfinished":
                continue
            for path in place.rglob("*"):
                with suppress(FileNotFoundError):
                    if path.is_file() and not path.name.startswith(_TOKENS):
                        status = path.stat()
                        yield path, status.st_mtime, status.st_size

"""Artifacts on any filesystem that fsspec knows: object storage, above all.

The files of an artifact are uploaded one by one, each to a place that its own SHA-256 is part of; the manifest is last.
So two processes that make the same artifact in other bytes at the same moment overwrite nothing of each other's,
whichever manifest stands; and without a manifest nothing is read. A pointer is one small object, which object storage
replaces whole; of two processes that write it at the same moment the later stands, and what either names is whole.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from stalign_core.errors import StalignError, StoreError
from stalign_core.store.backend import SET_ASIDE, Origin, place_of
from stalign_core.store.fetched import FetchedFiles
from stalign_core.store.manifest import MANIFEST, Manifest
from stalign_core.store.staging import STAGING

if TYPE_CHECKING:
    from upath import UPath

_MARKER: Final = "stalign_store.json"
_LAYOUT: Final = b'{"layout": 1}\n'
_STATED: Final = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "created")
"""What filesystems say of a file that changes with its bytes."""
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Faults of the cache's disk, which are told as such elsewhere."""


class RemoteFolder:
    """A `Backend` on a filesystem that is reached through fsspec; files are read through a cache on this machine."""

    def __init__(self, base: UPath, cache: FetchedFiles) -> None:
        self.base = base
        self._cache = cache
        self._fs = base.fs
        self._root = base.path.rstrip("/")
        self._is_prepared = False

    @property
    def staging_parent(self) -> Path:
        """Of the cache: what is committed moves into it."""
        return self._cache.root / STAGING

    def prepare(self) -> None:
        """Write a marker, once per process: a missing bucket or right shows before hours of work."""
        if not self._is_prepared:
            self.replace(_MARKER, _LAYOUT)
            self._is_prepared = True

    def read(self, place: str) -> bytes | None:
        """The bytes of a small file, or None if there is none."""
        with self._reached():
            # A listing that was made earlier would hide what others have written since.
            self._fs.invalidate_cache()
            try:
                return bytes(self._fs.cat_file(self._at(place)))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def replace(self, place: str, payload: bytes) -> None:
        """One PUT, which takes effect whole or not at all on object storage."""
        with self._reached():
            self._make_parent(self._at(place))
            self._fs.pipe_file(self._at(place), payload)

    def delete(self, place: str) -> None:
        """Remove a small file, if it is there."""
        with self._reached(), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(place))

    def commit(self, staging: Path, manifest: Manifest, taken_over: Mapping[str, Origin]) -> None:
        """Upload, manifest last; what was uploaded moves into the cache."""
        copied = {name for name, origin in taken_over.items() if self._copied(manifest, name, origin)}
        for name in manifest.files:
            if name not in copied:
                self._put(staging / name, self._object(manifest, name))
        self._create(f"{place_of(manifest)}/{MANIFEST}", (staging / MANIFEST).read_bytes())
        self._cache.keep_tokens(manifest, self._stated(manifest))
        for name in manifest.files:
            self._cache.adopt(manifest, name, staging / name)

    def file(self, manifest: Manifest, name: str) -> Path | None:
        """The copy in the cache, fetched if there is none that holds."""
        with self._reached():
            return self._cache.get(manifest, name, lambda part: self._get(manifest, name, part))

    def damaged(self, manifest: Manifest) -> str | None:
        """The first file that does not hold; one is fetched only if its object changed since it last held here."""
        stated = self._stated(manifest)
        known = self._cache.tokens(manifest)
        for name in manifest.files:
            if name not in stated:
                return name
            if known.get(name) != stated[name]:
                self._cache.path(manifest, name).unlink(missing_ok=True)
                if self.file(manifest, name) is None:
                    return name
                known[name] = stated[name]
                self._cache.keep_tokens(manifest, known)
        return None

    def location(self, manifest: Manifest, name: str) -> UPath:
        """Where a file of an artifact lies."""
        return self.base / _place_of_file(manifest, name)

    def set_aside(self, place: str) -> None:
        """Copy everything, then remove the manifest: from then on it is no artifact.

        The other files stay as well, unread: another process may be at work on the same artifact anew. They are
        overwritten by it, or collected as an unfinished upload.
        """
        aside = f"{place}{SET_ASIDE}{uuid.uuid4().hex[:8]}"
        with self._reached():
            for path in self._below(place):
                target = self._at(aside + path.removeprefix(self._at(place)))
                self._make_parent(target)
                with suppress(FileNotFoundError):
                    self._fs.cp_file(path, target)
        self.delete(f"{place}/{MANIFEST}")

    def remove(self, place: str) -> None:
        """Remove the manifest, then the rest."""
        self.delete(f"{place}/{MANIFEST}")
        with self._reached(), suppress(FileNotFoundError):
            self._fs.rm(self._at(place), recursive=True)

    def named(self, file_name: str) -> list[str]:
        """Places of all files of this name beside or directly in artifacts, outside what was set aside."""
        return [place for place in self._places() if PurePosixPath(place).name == file_name and SET_ASIDE not in place]

    def asides(self) -> list[str]:
        """Folders that were set aside; a file of such a name is a note that was kept, which is no artifact."""
        folders = (PurePosixPath(place).parent.parts for place in self._places())
        marked = (parts for parts in folders if any(SET_ASIDE in part for part in parts))
        depth = ((parts, next(at for at, part in enumerate(parts) if SET_ASIDE in part)) for parts in marked)
        return sorted({"/".join(parts[: at + 1]) for parts, at in depth})

    def unfinished(self) -> list[str]:
        """Folders of files that have no manifest."""
        places = [place for place in self._places() if SET_ASIDE not in place]
        committed = {place.removesuffix(f"/{MANIFEST}") for place in places if place.endswith(f"/{MANIFEST}")}
        folders = {folder for place in places if (folder := _artifact_of(place)) is not None}
        return sorted(folders - committed)

    def marks(self, place: str) -> dict[str, object] | None:  # noqa: ARG002
        """Not told: each place would cost a request."""
        return None

    def last_change(self, place: str) -> float:
        """When any object below changed last, in seconds since the epoch; 0 where the filesystem does not say."""
        with self._reached():
            changes = [_changed(info) for info in self._below(place).values()]
        return max(changes, default=0.0)

    def _copied(self, manifest: Manifest, name: str, origin: Origin) -> bool:
        """Whether a file of another artifact was copied within the store: none is whose object may have changed."""
        source, named = origin
        if self._stated(source).get(named, "") != self._cache.tokens(source).get(named):
            return False
        target = self._object(manifest, name)
        with self._reached():
            try:
                self._make_parent(target)
                self._fs.cp_file(self._object(source, named), target)
            except (FileNotFoundError, NotImplementedError):
                return False
        return True

    def _put(self, source: Path, target: str) -> None:
        with self._reached():
            self._make_parent(target)
            self._fs.put_file(str(source), target)

    def _get(self, manifest: Manifest, name: str, target: Path) -> None:
        self._fs.get_file(self._object(manifest, name), str(target))

    def _create(self, place: str, payload: bytes) -> None:
        """Write a file unless there is one; where the filesystem cannot tell, the later stands, as whole."""
        path = self._at(place)
        with self._reached():
            self._make_parent(path)
            try:
                self._fs.pipe_file(path, payload, mode="create")
            except FileExistsError:
                return
            except (NotImplementedError, TypeError, ValueError):
                self._fs.pipe_file(path, payload)

    def _stated(self, manifest: Manifest) -> dict[str, str]:
        """What the filesystem says of each file that is there: it changes when the object does."""
        with self._reached():
            infos = self._below(place_of(manifest))
        stated = {}
        for name in manifest.files:
            info = infos.get(self._object(manifest, name))
            if info is not None:
                stated[name] = "|".join(str(info[key]) for key in ("size", *_STATED) if info.get(key) is not None)
        return stated

    def _places(self) -> list[str]:
        with self._reached():
            found = self._below("")
        return sorted(path.removeprefix(f"{self._root}/") for path in found)

    def _below(self, place: str) -> dict[str, dict[str, Any]]:
        """What is said of each object below a place, by its path; never what was said before."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._at(place) if place else self._root, detail=True)
        except FileNotFoundError:
            return {}
        return {path: info for path, info in found.items() if info.get("type") != "directory"}

    def _make_parent(self, path: str) -> None:
        """Filesystems with folders need them; object storage has none, and its buckets are not made here."""
        if "s3" not in _protocols(self._fs) and "gs" not in _protocols(self._fs):
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)

    def _object(self, manifest: Manifest, name: str) -> str:
        return self._at(_place_of_file(manifest, name))

    def _at(self, place: str) -> str:
        return f"{self._root}/{place}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell in one line what a filesystem, or the network before it, answers with an exception of its own kind."""
        try:
            yield
        except StalignError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _FULL_DISK:
                raise
            told = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(
                f"store {self.base}",
                f"cannot be used ({told})",
                remedy="check that its server is up and that this account may write there, and run again",
            ) from error


def _place_of_file(manifest: Manifest, name: str) -> str:
    return f"{place_of(manifest)}/{manifest.files[name].sha256[:16]}/{name}"


def _artifact_of(place: str) -> str | None:
    """The artifact's folder that a file lies in, below a piece of its hash; None of pointers and the like."""
    parts = PurePosixPath(place).parts
    for at in range(len(parts) - 2, 1, -1):
        if len(parts[at]) == 16 and set(parts[at]) <= set("0123456789abcdef"):
            return "/".join(parts[:at])
    return None


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _changed(info: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "mtime", "modified", "created"):
        when = info.get(key)
        if isinstance(when, datetime):
            return when.timestamp()
        if isinstance(when, int | float):
            return float(when)
    return 0.0

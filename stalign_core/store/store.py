"""The store: finding, committing and pointing at artifacts, on any fsspec filesystem."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stalign_core.errors import ArtifactError, MissingArtifactError
from stalign_core.naming import is_safe_name
from stalign_core.progress import Progress, silent
from stalign_core.store.artifact import Artifact
from stalign_core.store.backend import Backend, place_of
from stalign_core.store.builder import ArtifactBuilder
from stalign_core.store.fetched import FetchedFiles
from stalign_core.store.local import LocalFolder, write_synced
from stalign_core.store.manifest import MANIFEST, RERUN, Manifest
from stalign_core.store.remote import RemoteFolder
from stalign_core.store.staging import leftovers, staging_name, sweep

if TYPE_CHECKING:
    from upath import UPath

UNPARTITIONED: Final = "_all"
"""Partition name of an asset that has none; no donor can be called so."""

_POINTER: Final = "current.json"
_Found = TypeVar("_Found")


class Store:
    """Artifacts under one base folder or URL.

    Parameters
    ----------
    base
        A local folder, or any fsspec URL (``s3://bucket/prefix``, ``memory://x``).
    cache
        Local folder for staging and copies of a remote base.
    options
        Of the remote filesystem, as fsspec takes them: ``endpoint_url``, ``profile`` ...
    cache_bytes
        What the copies may take.
    """

    def __init__(
        self,
        base: str | Path,
        cache: Path | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        cache_bytes: int = 50 * 2**30,
    ) -> None:
        from upath import UPath

        self.base: UPath = UPath(base, **(options or {}))
        self.is_local = self.base.protocol in ("", "file", "local")
        self.cache = cache or Path(tempfile.gettempdir()) / "stalign_cache"
        self.fetched = FetchedFiles(self.cache, cache_bytes)
        self.backend: Backend = LocalFolder(self.base) if self.is_local else RemoteFolder(self.base, self.fetched)
        self._seen: dict[tuple[str, str], Any] | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """While open, each pointer, manifest and note is looked at once, until this store writes something itself.

        For what asks about many artifacts again and again and means one state of the store, such as a plan: a request
        each would take minutes where the store is far away.
        """
        if self._seen is not None:
            yield
            return
        self._seen = {}
        try:
            yield
        finally:
            self._seen = None

    def _once(self, kind: str, place: str, look: Callable[[], _Found]) -> _Found:
        if self._seen is None:
            return look()
        if (kind, place) not in self._seen:
            self._seen[kind, place] = look()
        found: _Found = self._seen[kind, place]
        return found

    def _forget(self) -> None:
        if self._seen is not None:
            self._seen.clear()

    def read_note(self, place: str) -> bytes | None:
        """A small file beside artifacts, or None if there is none."""
        return self._once("note", place, lambda: self.backend.read(place))

    def write_note(self, place: str, payload: bytes) -> None:
        """Write a small file beside artifacts whole, or leave what was there."""
        self.backend.replace(place, payload)
        self._forget()

    def remove_note(self, place: str) -> None:
        """Remove a small file beside artifacts, if it is there."""
        self.backend.delete(place)
        self._forget()

    def find(self, asset: str, partition: str, input_key: str) -> Artifact | None:
        """The committed artifact with this key, or None; its manifest is verified, its files are not yet."""
        place = f"{asset}/{partition}/{input_key}"
        return self._once("artifact", place, lambda: self._find(asset, partition, input_key))

    def _find(self, asset: str, partition: str, input_key: str) -> Artifact | None:
        folder = self.base / asset / partition / input_key
        payload = self.backend.read(f"{asset}/{partition}/{input_key}/{MANIFEST}")
        if payload is None:
            return None
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError:
            raise ArtifactError(str(folder / MANIFEST), "is not a whole manifest", remedy=RERUN) from None
        manifest = Manifest.from_json(text, where=str(folder / MANIFEST))
        if (manifest.asset, manifest.partition, manifest.input_key) != (asset, partition, input_key):
            raise ArtifactError(
                str(folder / MANIFEST), f"belongs to {manifest.asset} of {manifest.partition}", remedy=RERUN
            )
        return Artifact(folder, manifest, self.backend)

    def current(self, asset: str, partition: str) -> Artifact | None:
        """The artifact in force for an asset and partition, or None if there never was one.

        Raises
        ------
        MissingArtifactError
            If what it points at was set aside or deleted.
        ArtifactError
            If the pointer or what it points at is not whole.
        """
        return self._once("current", f"{asset}/{partition}", lambda: self._current(asset, partition))

    def _current(self, asset: str, partition: str) -> Artifact | None:
        pointer = self.base / asset / partition / _POINTER
        payload = self.backend.read(f"{asset}/{partition}/{_POINTER}")
        if payload is None:
            return None
        try:
            input_key = str(json.loads(payload)["input_key"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ArtifactError(str(pointer), "is not a whole pointer", remedy=RERUN) from None
        if not is_safe_name(input_key):
            raise ArtifactError(str(pointer), "is not a whole pointer", remedy=RERUN)
        artifact = self.find(asset, partition, input_key)
        if artifact is None:
            raise MissingArtifactError(str(pointer), f"points at '{input_key}', which is not there", remedy=RERUN)
        return artifact

    def point(self, artifact: Artifact) -> None:
        """Make `artifact` the one in force: an atomic replacement."""
        manifest = artifact.manifest
        text = json.dumps(
            {
                "input_key": manifest.input_key,
                "data_version": manifest.data_version,
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        self.backend.replace(f"{manifest.asset}/{manifest.partition}/{_POINTER}", text.encode())
        self._forget()

    @contextmanager
    def staging(self, predecessor: Artifact | None) -> Iterator[ArtifactBuilder]:
        """A builder over a fresh staging folder, which is removed at the end unless it was committed."""
        self.backend.prepare()
        folder = self.staging_parent / staging_name()
        try:
            folder.mkdir(parents=True)
        except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
            raise ArtifactError(
                f"store {self.base}",
                f"cannot be written ({error.strerror})",
                expected="a folder that may be made and written",
                remedy="correct the setting 'store', or ask for the right to write there",
            ) from None
        try:
            yield ArtifactBuilder(folder, predecessor)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep_staging(self) -> list[Path]:
        """Remove what killed processes of this host left in staging; returns the folders that were removed."""
        return sweep(self.staging_parent)

    def commit(self, builder: ArtifactBuilder, manifest: Manifest) -> Artifact:
        """Make the builder's files an artifact: manifest last, all of it at once.

        If another process committed the same key meanwhile, its artifact stands and this one is dropped.
        """
        write_synced(builder.staging / MANIFEST, manifest.to_json().encode())
        self.backend.commit(builder.staging, manifest, builder.taken_over)
        self._forget()
        committed = self.find(manifest.asset, manifest.partition, manifest.input_key)
        if committed is None:
            raise ArtifactError(
                str(self.base / place_of(manifest)),
                "vanished right after it was written",
                remedy="see that nothing else removes files from the store, and run again",
            )
        return committed

    def discard(self, artifact_folder: Path | UPath) -> None:
        """Move a damaged artifact out of the way; its bytes are kept for inspection."""
        self.backend.set_aside(self._place(artifact_folder))
        self._forget()

    def artifacts(
        self, report: Callable[[ArtifactError], None] | None = None, progress: Progress = silent
    ) -> Iterator[Artifact]:
        """Every committed artifact with a whole manifest, in order of path; `report` hears of each that has none."""
        paths = self.backend.named(MANIFEST)
        for done, path in enumerate(paths):
            progress("reading manifests", done, len(paths))
            asset, partition, input_key = path.removesuffix(f"/{MANIFEST}").rsplit("/", 2)
            try:
                found = self.find(asset, partition, input_key)
            except ArtifactError as error:
                if report is not None:
                    report(error)
                continue
            if found is not None:
                yield found

    def in_force(self, progress: Progress = silent) -> Iterator[Artifact]:
        """Every artifact that a pointer names, of any asset; pointers to what is not there are passed over.

        Raises
        ------
        ArtifactError
            If a pointer or what it points at is not whole.
        """
        pointed = list(self._pointed())
        for done, (asset, partition) in enumerate(pointed):
            progress("following pointers", done, len(pointed))
            with suppress(MissingArtifactError):
                artifact = self.current(asset, partition)
                if artifact is not None:
                    yield artifact

    def broken_pointers(self) -> Iterator[ArtifactError]:
        """What is wrong with each pointer that cannot be followed."""
        for asset, partition in self._pointed():
            try:
                self.current(asset, partition)
            except ArtifactError as error:
                yield error

    def _pointed(self) -> Iterator[tuple[str, str]]:
        """Asset and partition of every pointer."""
        for path in self.backend.named(_POINTER):
            asset, partition = path.removesuffix(f"/{_POINTER}").rsplit("/", 1)
            yield asset, partition

    def set_aside(self) -> Iterator[UPath]:
        """Folders of the damaged artifacts that `discard` moved out of the way."""
        yield from (self.base / place for place in self.backend.asides())

    def unfinished(self) -> Iterator[UPath]:
        """Folders of uploads that were interrupted before their manifest; none in a local store."""
        yield from (self.base / place for place in self.backend.unfinished())

    def marks(self, asset: str, partition: str) -> dict[str, object] | None:
        """What differs once the pointer, the refusal or a manifest of an asset and partition does; no file is read.

        None in a store on another machine.
        """
        return self.backend.marks(f"{asset}/{partition}")

    def last_change(self, folder: UPath) -> float:
        """When a folder of the store or anything in it changed last, in seconds since the epoch."""
        return self.backend.last_change(self._place(folder))

    def staging_leftovers(self, untouched_since: float) -> list[Path]:
        """Staging folders that nobody will go on with; see `stalign_core.store.staging.leftovers`."""
        return leftovers(self.staging_parent, untouched_since)

    def remove(self, folder: Path | UPath) -> None:
        """Remove the folder of an artifact; killed midway, it leaves nothing that would be taken for one."""
        self.backend.remove(self._place(folder))
        self._forget()

    @property
    def staging_parent(self) -> Path:
        """Local folder of the staging folders."""
        return self.backend.staging_parent

    def _place(self, folder: Path | UPath) -> str:
        from upath import UPath

        return str(UPath(folder).path).removeprefix(self.base.path.rstrip("/")).strip("/")

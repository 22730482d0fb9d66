"""The store: finding, committing and pointing at artifacts, on any fsspec filesystem."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_core.errors import ArtifactError, MissingArtifactError
from stalign_core.store.artifact import Artifact
from stalign_core.store.builder import ArtifactBuilder
from stalign_core.store.manifest import MANIFEST, Manifest
from stalign_core.store.staging import STAGING, leftovers, staging_name, sweep

if TYPE_CHECKING:
    from upath import UPath

UNPARTITIONED: Final = "_all"
"""Partition name of an asset that has none; no donor can be called so."""

_POINTER: Final = "current.json"
_SET_ASIDE: Final = ".damaged-"


class Store:
    """Artifacts under one base folder or URL.

    Parameters
    ----------
    base
        A local folder, or any fsspec URL (``s3://bucket/prefix``, ``memory://x``).
    cache
        Local folder for files fetched from a remote base.
    """

    def __init__(self, base: str | Path, cache: Path | None = None) -> None:
        from upath import UPath

        self.base: UPath = UPath(base)
        self.is_local = self.base.protocol in ("", "file", "local")
        self.cache = cache or Path(tempfile.gettempdir()) / "stalign_cache"

    def find(self, asset: str, partition: str, input_key: str) -> Artifact | None:
        """The committed artifact with this key, or None; its manifest is verified, its files are not yet."""
        folder = self.base / asset / partition / input_key
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            raise ArtifactError(str(folder / MANIFEST), "is not a whole manifest") from None
        manifest = Manifest.from_json(text, where=str(folder / MANIFEST))
        if (manifest.asset, manifest.partition, manifest.input_key) != (asset, partition, input_key):
            raise ArtifactError(str(folder / MANIFEST), f"belongs to {manifest.asset} of {manifest.partition}")
        return Artifact(folder, manifest, self.cache)

    def current(self, asset: str, partition: str) -> Artifact | None:
        """The artifact in force for an asset and partition, or None if there never was one.

        Raises
        ------
        MissingArtifactError
            If what it points at was set aside or deleted.
        ArtifactError
            If the pointer or what it points at is not whole.
        """
        pointer = self.base / asset / partition / _POINTER
        try:
            input_key = json.loads(pointer.read_text(encoding="utf-8"))["input_key"]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            raise ArtifactError(str(pointer), "is not a whole pointer", remedy=_RERUN) from None
        artifact = self.find(asset, partition, str(input_key))
        if artifact is None:
            raise MissingArtifactError(str(pointer), f"points at '{input_key}', which is not there", remedy=_RERUN)
        return artifact

    def point(self, artifact: Artifact) -> None:
        """Make `artifact` the one in force: an atomic replacement."""
        manifest = artifact.manifest
        folder = self.base / manifest.asset / manifest.partition
        text = json.dumps(
            {
                "input_key": manifest.input_key,
                "data_version": manifest.data_version,
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        if not self.is_local:
            (folder / _POINTER).write_text(text, encoding="utf-8")
            return
        path = Path(folder.path)
        temporary = path / f".{_POINTER}.{uuid.uuid4().hex}"
        _write_synced(temporary, text.encode())
        temporary.replace(path / _POINTER)
        _sync_folder(path)

    @contextmanager
    def staging(self, predecessor: Artifact | None) -> Iterator[ArtifactBuilder]:
        """A builder over a fresh staging folder, which is removed at the end unless it was committed."""
        folder = self._staging_parent / staging_name()
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
        return sweep(self._staging_parent)

    def commit(self, builder: ArtifactBuilder, manifest: Manifest) -> Artifact:
        """Make the builder's files an artifact: manifest last, all of it at once.

        If another process committed the same key meanwhile, its artifact stands and this one is dropped.
        """
        _write_synced(builder.staging / MANIFEST, manifest.to_json().encode())
        target = self.base / manifest.asset / manifest.partition / manifest.input_key
        if self.is_local:
            self._rename(builder.staging, Path(target.path))
        else:
            self._upload(builder.staging, target)
        committed = self.find(manifest.asset, manifest.partition, manifest.input_key)
        if committed is None:
            raise ArtifactError(str(target), "vanished right after it was written")
        return committed

    def discard(self, artifact_folder: Path | UPath) -> None:
        """Move a damaged artifact out of the way; its bytes are kept for inspection."""
        from upath import UPath

        path = Path(UPath(artifact_folder).path)
        aside = path.with_name(f"{path.name}{_SET_ASIDE}{uuid.uuid4().hex[:8]}")
        # Another process may have moved it meanwhile.
        with suppress(FileNotFoundError):
            if self.is_local:
                path.rename(aside)
            else:
                self.base.fs.mv(str(path), str(aside), recursive=True)

    def artifacts(self, report: Callable[[ArtifactError], None] | None = None) -> Iterator[Artifact]:
        """Every committed artifact with a whole manifest, in order of path; `report` hears of each that has none."""
        for path in sorted(self.base.rglob(MANIFEST), key=str):
            *asset, partition, input_key = path.parent.path[len(self.base.path) :].strip("/").rsplit("/", 2)
            if not asset or STAGING in (*asset, partition) or _SET_ASIDE in input_key:
                continue
            try:
                found = self.find(asset[0], partition, input_key)
            except ArtifactError as error:
                if report is not None:
                    report(error)
                continue
            if found is not None:
                yield found

    def in_force(self) -> Iterator[Artifact]:
        """Every artifact that a pointer names, of any asset; pointers to what is not there are passed over.

        Raises
        ------
        ArtifactError
            If a pointer or what it points at is not whole.
        """
        for path in sorted(self.base.rglob(_POINTER), key=str):
            asset, partition = path.parent.path[len(self.base.path) :].strip("/").rsplit("/", 1)
            with suppress(MissingArtifactError):
                artifact = self.current(asset, partition)
                if artifact is not None:
                    yield artifact

    def set_aside(self) -> Iterator[UPath]:
        """Folders of the damaged artifacts that `discard` moved out of the way."""
        for path in sorted(self.base.rglob(f"*{_SET_ASIDE}*"), key=str):
            if path.is_dir():
                yield path

    def staging_leftovers(self, untouched_since: float) -> list[Path]:
        """Staging folders that nobody will go on with; see `stalign_core.store.staging.leftovers`."""
        return leftovers(self._staging_parent, untouched_since)

    def remove(self, folder: Path | UPath) -> None:
        """Remove the folder of an artifact; killed midway, it leaves nothing that would be taken for one."""
        from upath import UPath

        if self.is_local:
            doomed = self._staging_parent / staging_name()
            doomed.parent.mkdir(exist_ok=True)
            Path(folder).rename(doomed)
            shutil.rmtree(doomed)
        else:
            (folder / MANIFEST).unlink(missing_ok=True)
            self.base.fs.rm(UPath(folder).path, recursive=True)

    @property
    def _staging_parent(self) -> Path:
        return (Path(self.base.path) if self.is_local else self.cache) / STAGING

    def _rename(self, staging: Path, target: Path) -> None:
        for path in staging.rglob("*"):
            if path.is_file():
                _sync_file(path)
        for path in [*(p for p in staging.rglob("*") if p.is_dir()), staging]:
            _sync_folder(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():
                raise
            if not (target / MANIFEST).is_file():
                self.discard(target)
                staging.rename(target)
        _sync_folder(target.parent)

    def _upload(self, staging: Path, target: UPath) -> None:
        for path in sorted(staging.rglob("*")):
            if path.is_file() and path.name != MANIFEST:
                self._put(path, target / path.relative_to(staging).as_posix())
        self._put(staging / MANIFEST, target / MANIFEST)

    @staticmethod
    def _put(source: Path, target: UPath) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.fs.put_file(str(source), target.path)


_RERUN = "run 'stalign run STUDY' again"


def _write_synced(path: Path, payload: bytes) -> None:
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

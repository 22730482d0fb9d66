"""A committed artifact: verified whenever it is read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stalign_core.errors import ArtifactError
from stalign_core.store.hashing import digest, file_sha256
from stalign_core.store.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from upath import UPath


@dataclass(frozen=True)
class Artifact:
    """Handle of a committed artifact. Nothing is read before a file of it is asked for.

    Attributes
    ----------
    folder
        Where the artifact lies, on any filesystem.
    manifest
        Its verified manifest.
    cache
        Local folder into which remote files are fetched; unused for a local store.
    """

    folder: UPath
    manifest: Manifest
    cache: Path

    @property
    def name(self) -> str:
        """Asset and partition, for messages."""
        partition = "" if self.manifest.partition == "_all" else f" of {self.manifest.partition}"
        return f"{self.manifest.asset}{partition}"

    def used_hash(self, patterns: Sequence[str]) -> str:
        """Hash of the logical content of the files that match any of `patterns`."""
        return digest(
            {
                name: record.content
                for name, record in self.manifest.files.items()
                if record.content and any(_matches(name, pattern) for pattern in patterns)
            }
        )

    def names(self, pattern: str) -> list[str]:
        """Names of the files that match `pattern`, sorted."""
        return sorted(name for name in self.manifest.files if _matches(name, pattern))

    def file(self, name: str) -> Path:
        """Verified local path of a file of this artifact.

        Raises
        ------
        ArtifactError
            If the file is not of this artifact, is missing, or does not have the size and SHA-256 it was stored with.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise ArtifactError(self.name, f"holds no file '{name}'", remedy=_REBUILD)
        path = self._local(name)
        if not path.is_file():
            raise ArtifactError(self.name, f"its file '{name}' is missing at {path}", remedy=_REBUILD)
        if not _matches_record(path, record) and not self._refetched(name):
            raise ArtifactError(
                self.name,
                f"its file {path} is not what was stored",
                expected=f"SHA-256 {record.sha256}",
                remedy=_REBUILD,
            )
        return path

    def local_folder(self, name: str) -> Path:
        """Local path of a folder of this artifact, every file in it verified."""
        paths = [self.file(inside) for inside in self.names(f"{name}/*")]
        if not paths:
            raise ArtifactError(self.name, f"holds no folder '{name}'", remedy=_REBUILD)
        return paths[0].parent

    def verify(self) -> None:
        """Verify every file; raises `ArtifactError` at the first that does not hold."""
        for name in self.manifest.files:
            self.file(name)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Named arrays of a safetensors file."""
        from safetensors.numpy import load_file

        return dict(load_file(self.file(name)))

    def table(self, name: str) -> pd.DataFrame:
        """A Parquet table."""
        import pandas as pd

        return pd.read_parquet(self.file(name))

    def json(self, name: str) -> Any:
        """A JSON document."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    def anndata(self, name: str) -> AnnData:
        """An .h5ad file, in memory."""
        import anndata

        return anndata.read_h5ad(self.file(name))

    def bytes(self, name: str) -> bytes:
        """The bytes of a file."""
        return self.file(name).read_bytes()

    def _refetched(self, name: str) -> bool:
        """Whether a remote file holds after all once the copy in the cache, which may be at fault, is fetched anew."""
        if self._is_local:
            return False
        self._local(name).unlink(missing_ok=True)
        path = self._local(name)
        return path.is_file() and _matches_record(path, self.manifest.files[name])

    @property
    def _is_local(self) -> bool:
        return self.folder.protocol in ("", "file", "local")

    def _local(self, name: str) -> Path:
        if self._is_local:
            return Path(self.folder.path) / name
        local = self.cache / self.manifest.asset / self.manifest.partition / self.manifest.input_key / name
        if not local.is_file():
            local.parent.mkdir(parents=True, exist_ok=True)
            fetched = local.with_name(f"{local.name}.{uuid.uuid4().hex}.part")
            try:
                fetched.write_bytes((self.folder / name).read_bytes())
            except FileNotFoundError:
                return local
            fetched.replace(local)
        return local


_REBUILD = "rebuild it with 'stalign run STUDY'"


def _matches_record(path: Path, record: FileRecord) -> bool:
    return path.stat().st_size == record.size and file_sha256(path) == record.sha256


def _matches(name: str, pattern: str) -> bool:
    """Whether a file is meant: ``*`` stays within a folder, ``**`` alone means every file."""
    return pattern == "**" or (name.count("/") == pattern.count("/") and fnmatchcase(name, pattern))

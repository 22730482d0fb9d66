"""A committed artifact: verified whenever it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stalign_core.errors import ArtifactError
from stalign_core.store.backend import Backend
from stalign_core.store.hashing import digest
from stalign_core.store.manifest import Manifest

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
    backend
        What its files are read through; two handles of one artifact are equal whatever it is.
    """

    folder: UPath
    manifest: Manifest
    backend: Backend = field(compare=False)

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
        path = self.backend.file(self.manifest, name)
        if path is None:
            raise ArtifactError(
                self.name,
                f"its file {self.location(name)} is missing or not what was stored",
                expected=f"SHA-256 {record.sha256}",
                remedy=_REBUILD,
            )
        return path

    def location(self, name: str) -> UPath:
        """Where a file of this artifact lies, on any filesystem."""
        return self.backend.location(self.manifest, name)

    def local_folder(self, name: str) -> Path:
        """Local path of a folder of this artifact, every file in it verified."""
        paths = [self.file(inside) for inside in self.names(f"{name}/*")]
        if not paths:
            raise ArtifactError(self.name, f"holds no folder '{name}'", remedy=_REBUILD)
        return paths[0].parent

    def verify(self) -> None:
        """Verify every file; raises `ArtifactError` at the first that does not hold."""
        damaged = self.backend.damaged(self.manifest)
        if damaged is not None:
            self.file(damaged)
            raise ArtifactError(self.name, f"its file {self.location(damaged)} did not hold", remedy=_REBUILD)

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


_REBUILD = "rebuild it with 'stalign run STUDY'"


def _matches(name: str, pattern: str) -> bool:
    """Whether a file is meant: ``*`` stays within a folder, ``**`` alone means every file."""
    return pattern == "**" or (name.count("/") == pattern.count("/") and fnmatchcase(name, pattern))

"""Writing an artifact: files go to a staging folder, each hashed as it is written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_core.errors import ArtifactError
from stalign_core.store.artifact import Artifact
from stalign_core.store.backend import Origin
from stalign_core.store.hashing import (
    anndata_hash,
    arrays_hash,
    canonical_json,
    digest,
    file_sha256,
    json_hash,
    table_hash,
)
from stalign_core.store.manifest import FileRecord, PartRecord

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData


_HDF5_OVERHEAD: Final = 2**18
"""Bytes of an .h5ad file besides its arrays, at most."""


class ArtifactBuilder:
    """Collects the files of one artifact before it is committed.

    Parameters
    ----------
    staging
        An empty local folder.
    predecessor
        The artifact now in force for the same asset and partition; its parts are taken over where their key stands.
    """

    def __init__(self, staging: Path, predecessor: Artifact | None) -> None:
        self.staging = staging
        self.files: dict[str, FileRecord] = {}
        self.summary: dict[str, Any] = {}
        self.determinism = "deterministic on the CPU for the same thread count"
        self._predecessor = predecessor
        self._part_keys: dict[str, str] = {}
        self._part_files: dict[str, list[str]] = {}
        self.taken_over: dict[str, Origin] = {}
        """Of the files that are the predecessor's: where they come from."""
        self.parts_reused = 0

    def reuse_part(self, part: str, key_material: Any) -> bool:
        """Take over `part` from the predecessor if it was made from the same `key_material`.

        Otherwise the part is opened: files written with ``part=`` belong to it. A part that no longer verifies is
        computed anew.
        """
        key = digest(key_material)
        self._part_keys[part] = key
        self._part_files[part] = []
        if self._predecessor is None:
            return False
        record = self._predecessor.manifest.parts.get(part)
        if record is None or record.key != key:
            return False
        try:
            paths = {name: self._predecessor.file(name) for name in record.files}
        except ArtifactError:
            return False
        for name, path in paths.items():
            _link_or_copy(path, self._target(name))
            self.files[name] = self._predecessor.manifest.files[name]
            self.taken_over[name] = (self._predecessor.manifest, name)
            self._part_files[part].append(name)
        self.parts_reused += 1
        return True

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray], *, part: str | None = None) -> None:
        """Write named arrays as safetensors."""
        import numpy as np
        from safetensors.numpy import save_file

        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        save_file(contiguous, self._target(name))
        self._record(name, arrays_hash(contiguous), part)

    def write_table(self, name: str, table: pd.DataFrame, *, part: str | None = None) -> None:
        """Write a table as Parquet."""
        table.to_parquet(self._target(name), index=False)
        self._record(name, table_hash(table), part)

    def write_json(self, name: str, value: Any, *, part: str | None = None) -> None:
        """Write a JSON document."""
        plain = json.loads(canonical_json(value))
        self._target(name).write_text(json.dumps(plain, indent=1, sort_keys=True), encoding="utf-8")
        self._record(name, json_hash(plain), part)

    def write_anndata(self, name: str, adata: AnnData, *, part: str | None = None) -> None:
        """Write an AnnData as .h5ad."""
        target = self._target(name)
        _check_room(target.parent, adata.__sizeof__())
        adata.write_h5ad(target, compression="lzf")
        self._record(name, anndata_hash(adata), part)

    def write_bytes(self, name: str, payload: bytes, *, part: str | None = None) -> None:
        """Write a file that is looked at but not computed with (a picture): it does not count in the data version."""
        self._target(name).write_bytes(payload)
        self._record(name, "", part)

    def write_note(self, name: str, value: Any, *, part: str | None = None) -> None:
        """Write JSON that must not count in the data version, such as paths on this machine."""
        self._target(name).write_text(json.dumps(json.loads(canonical_json(value)), indent=1), encoding="utf-8")
        self._record(name, "", part)

    def folder(self, name: str) -> Path:
        """A new folder of the artifact for a library to write into; `record_folder` takes in what it wrote."""
        path = self.staging / name
        path.mkdir(parents=True)
        return path

    def record_folder(self, name: str) -> None:
        """Take in the safetensors and JSON files that a library wrote into a folder."""
        from safetensors.numpy import load_file

        for path in sorted((self.staging / name).iterdir()):
            relative = path.relative_to(self.staging).as_posix()
            if path.suffix == ".safetensors":
                self._record(relative, arrays_hash(load_file(path)), None)
            elif path.suffix == ".json":
                self._record(relative, json_hash(json.loads(path.read_text(encoding="utf-8"))), None)
            else:
                raise ArtifactError(relative, "has no form that is kept", expected=".safetensors or .json")

    def read_json(self, name: str) -> Any:
        """A JSON document written or taken over before."""
        return json.loads((self.staging / name).read_text(encoding="utf-8"))

    @property
    def parts(self) -> dict[str, PartRecord]:
        """The parts of this artifact, with their keys and files."""
        return {part: PartRecord(key, tuple(sorted(self._part_files[part]))) for part, key in self._part_keys.items()}

    def _target(self, name: str) -> Path:
        path = self.staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _record(self, name: str, content: str, part: str | None) -> None:
        path = self.staging / name
        self.files[name] = FileRecord(path.stat().st_size, file_sha256(path), content)
        if part is not None:
            self._part_files[part].append(name)


def _check_room(folder: Path, n_bytes: int) -> None:
    """Refuse to begin what cannot end: HDF5 out of room prints a traceback for every part that it cannot close."""
    needed = n_bytes * 11 // 10 + _HDF5_OVERHEAD
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {needed:,} bytes needed", str(folder))


def _link_or_copy(source: Path, target: Path) -> None:
    """Artifacts never change, so two of them may share a file; filesystems without links get a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

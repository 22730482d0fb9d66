"""What an artifact says of itself: enough to verify it and to trace it back to raw files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from stalign_core.errors import ArtifactError, NewerArtifactError
from stalign_core.store.hashing import canonical_json, digest

MANIFEST: Final = "manifest.json"
MANIFEST_VERSION: Final = 2
"""Version 2 adds CPU seconds and the memory at the start; manifests of version 1 are read, with zeros for them."""
RERUN: Final = "run 'stalign run STUDY' again"
"""What to do about anything in the store that is not whole: a run sets it aside and makes it again."""


@dataclass(frozen=True)
class FileRecord:
    """One file: its bytes (size, SHA-256), and its logical content hash, which is empty where it does not count."""

    size: int
    sha256: str
    content: str


@dataclass(frozen=True)
class PartRecord:
    """Files that can be taken over from an earlier artifact while the part's own key stands."""

    key: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class InputRecord:
    """One artifact this one was computed from; `used` hashes the files of it that mattered."""

    asset: str
    partition: str
    input_key: str
    data_version: str
    used: str


@dataclass(frozen=True)
class SourceRecord:
    """One raw file this artifact was computed from."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything an artifact proves: see the fields."""

    asset: str
    partition: str
    input_key: str
    data_version: str
    code_version: int
    settings: dict[str, Any]
    settings_hash: str
    seed: int
    inputs: tuple[InputRecord, ...]
    sources: tuple[SourceRecord, ...]
    donors: tuple[str, ...]
    donors_left_out: dict[str, str]
    files: dict[str, FileRecord]
    parts: dict[str, PartRecord]
    summary: dict[str, Any]
    run_id: str
    created: str
    seconds: float
    peak_memory_bytes: int
    packages: dict[str, str]
    determinism: str
    cpu_seconds: float = 0.0
    memory_at_start_bytes: int = 0
    manifest_version: int = MANIFEST_VERSION
    own_hash: str = field(default="")

    def to_json(self) -> str:
        """The manifest as text, sealed with the hash of all its other fields."""
        table = asdict(self)
        table["own_hash"] = ""
        table["own_hash"] = digest(json.loads(canonical_json(table)))
        return json.dumps(json.loads(canonical_json(table)), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Parse and verify a manifest.

        Raises
        ------
        NewerArtifactError
            If it was made by a newer stalign.
        ArtifactError
            If the text is no manifest, or was altered.
        """
        try:
            table = json.loads(text)
            sealed = table["own_hash"]
            version = table["manifest_version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ArtifactError(where, "is not a whole manifest", remedy=RERUN) from None
        if isinstance(version, int) and version > MANIFEST_VERSION:
            raise NewerArtifactError(where, f"has version {version}, made by a newer stalign", remedy="upgrade stalign")
        if digest({**table, "own_hash": ""}) != sealed:
            raise ArtifactError(where, "does not match its own hash", remedy=RERUN)
        for name in table["files"]:
            if _leads_outside(name):
                raise ArtifactError(where, f"names a file outside its artifact ('{name}')", remedy=RERUN)
        try:
            return cls(
                **{
                    **table,
                    "inputs": tuple(InputRecord(**record) for record in table["inputs"]),
                    "sources": tuple(SourceRecord(**record) for record in table["sources"]),
                    "donors": tuple(table["donors"]),
                    "files": {name: FileRecord(**record) for name, record in table["files"].items()},
                    "parts": {
                        name: PartRecord(record["key"], tuple(record["files"]))
                        for name, record in table["parts"].items()
                    },
                }
            )
        except TypeError as error:
            raise ArtifactError(where, f"is not a manifest of this version ({error})", remedy=RERUN) from None


def _leads_outside(name: str) -> bool:
    return "\\" in name or not all(name.split("/")) or ".." in name.split("/")


def data_version_of(files: dict[str, FileRecord]) -> str:
    """Hash of the logical content of all files that count."""
    return digest({name: record.content for name, record in files.items() if record.content})

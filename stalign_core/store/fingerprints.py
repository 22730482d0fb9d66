"""SHA-256 of raw files and folders, remembered while size, modification time and inode stand."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path

from stalign_core.errors import InputDataError
from stalign_core.store.hashing import canonical_json, file_sha256
from stalign_core.store.manifest import SourceRecord


class Fingerprints:
    """A cache of file hashes, so that a nightly check of a cohort does not read every slide again.

    Parameters
    ----------
    path
        JSON file of the cache; a missing or unreadable one only costs hashing anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[object]] = self._load()
        self._changed = False

    def record(self, source: Path) -> SourceRecord:
        """Path, size and SHA-256 of a raw file, or of a folder: of the names and hashes of all files below it.

        Raises
        ------
        InputDataError
            If the file cannot be read.
        """
        if not source.is_dir():
            record = self._record_file(source)
        else:
            files = sorted(path for path in source.rglob("*") if path.is_file())
            records = {path.relative_to(source).as_posix(): self._record_file(path) for path in files}
            hashes = canonical_json({name: record.sha256 for name, record in records.items()})
            size = sum(record.size for record in records.values())
            record = SourceRecord(str(source), size, hashlib.sha256(hashes.encode()).hexdigest())
        if self._changed:
            self._save()
        return record

    def _record_file(self, file: Path) -> SourceRecord:
        try:
            status = file.stat()
            stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
            known = self._known.get(str(file))
            if known is not None and known[:3] == stamp:
                return SourceRecord(str(file), status.st_size, str(known[3]))
            sha256 = file_sha256(file)
        except OSError as error:
            raise InputDataError(str(file), f"cannot be read ({error.strerror})") from None
        self._known[str(file)] = [*stamp, sha256]
        self._changed = True
        return SourceRecord(str(file), status.st_size, sha256)

    def _load(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _save(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{uuid.uuid4().hex}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._path)
            self._changed = False
        except OSError:
            temporary.unlink(missing_ok=True)

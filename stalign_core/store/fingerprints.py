"""SHA-256 of raw files, remembered while size, modification time and inode stand."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

from stalign_core.errors import InputDataError
from stalign_core.store.hashing import file_sha256
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

    def record(self, file: Path) -> SourceRecord:
        """Path, size and SHA-256 of a raw file.

        Raises
        ------
        InputDataError
            If the file cannot be read.
        """
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
        self._save()
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
        except OSError:
            temporary.unlink(missing_ok=True)

"""SHA-256 of raw files and folders, remembered while size, modification time and inode stand."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stalign_core.errors import InputChangedError, InputDataError
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
        self._new: dict[str, list[object]] = {}
        self._noted: dict[Path, str] = {}

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
        if self._new:
            self._save()
        self._noted.setdefault(source, record.sha256)
        return record

    @contextmanager
    def noting(self) -> Iterator[Mapping[Path, str]]:
        """Note every file and folder that is asked for within, with the SHA-256 that was told of it first."""
        self._noted = {}
        try:
            yield self._noted
        finally:
            self._noted = {}

    def check_unchanged(self, noted: Mapping[Path, str]) -> None:
        """Whether files still hold what was told of them; one that nobody has touched costs no reading.

        Raises
        ------
        InputChangedError
            If one does not.
        InputDataError
            If one cannot be read any more.
        """
        for source, sha256 in tuple(noted.items()):
            if self.record(source).sha256 != sha256:
                raise InputChangedError(
                    str(source),
                    "changed while it was read",
                    expected="a file that stays as it is until it was read",
                    remedy="run again once nothing writes to it",
                )

    def _record_file(self, file: Path) -> SourceRecord:
        try:
            stamp = _stamp(file)
            known = self._known.get(str(file))
            if known is not None and known[:3] == stamp:
                return SourceRecord(str(file), stamp[0], str(known[3]))
            sha256 = self._hash(file)
        except OSError as error:
            raise InputDataError(
                str(file),
                f"cannot be read ({error.strerror})",
                expected="a file that this account may read",
                remedy="put it back, or correct its path in the sample sheet",
            ) from None
        self._known[str(file)] = self._new[str(file)] = [*stamp, sha256]
        return SourceRecord(str(file), stamp[0], sha256)

    def _hash(self, file: Path) -> str:
        return file_sha256(file)

    def _load(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _save(self) -> None:
        """Add what is known to what others have saved meanwhile; what two save at the same moment is hashed again."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{uuid.uuid4().hex}")
        self._known = {**self._load(), **self._new}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._path)
            self._new = {}
        except OSError:
            temporary.unlink(missing_ok=True)


class UnknownFileError(InputDataError):
    """Nothing is remembered of a file as it is now."""


class KnownFingerprints(Fingerprints):
    """Hashes that are remembered already: no file is read for one."""

    def _hash(self, file: Path) -> str:
        raise UnknownFileError(str(file), "is new or has changed", remedy="run 'stalign run STUDY', which hashes it")


class ForgetfulFingerprints(Fingerprints):
    """Hashes that are taken anew, whatever was remembered, and not kept."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def _load(self) -> dict[str, list[object]]:
        return {}

    def _save(self) -> None:
        self._new = {}


def stamp_of(source: Path) -> list[int] | str:
    """Size, modification time in nanoseconds and inode of a file; of a folder a hash of them, of all files below it.

    Of what cannot be looked at, the reason.
    """
    try:
        if not source.is_dir():
            return _stamp(source)
        files = sorted(path for path in source.rglob("*") if path.is_file())
        stamps = canonical_json({path.relative_to(source).as_posix(): _stamp(path) for path in files})
    except OSError as error:
        return str(error.strerror)
    return hashlib.sha256(stamps.encode()).hexdigest()


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]

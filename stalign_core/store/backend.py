"""What a store needs of the place where its artifacts lie.

Places are relative paths with slashes: ``<asset>/<partition>/<input key>`` of an artifact, and files beside or in it.
There are two: `LocalFolder`, where a rename is the commit, and `RemoteFolder`, where the last object written is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from stalign_core.store.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from upath import UPath

SET_ASIDE: Final = ".damaged-"
"""Of the name of an artifact that was moved out of the way."""

Origin = tuple[Manifest, str]
"""The artifact that a file was taken over from, and its name there."""


class Backend(Protocol):
    """A place that artifacts are committed to and read from."""

    base: UPath
    """Where everything lies, for messages and for looking at it."""

    @property
    def staging_parent(self) -> Path:
        """Local folder of the staging folders."""
        ...

    def prepare(self) -> None:
        """Fail before anything is computed if nothing could be kept; called before each staging."""
        ...

    def read(self, place: str) -> bytes | None:
        """The bytes of a small file, or None if there is none."""
        ...

    def replace(self, place: str, payload: bytes) -> None:
        """Write a small file whole, or leave what was there."""
        ...

    def delete(self, place: str) -> None:
        """Remove a small file, if it is there."""
        ...

    def commit(self, staging: Path, manifest: Manifest, taken_over: Mapping[str, Origin]) -> None:
        """Make the files of a staging folder an artifact, unless another process made the same one meanwhile."""
        ...

    def file(self, manifest: Manifest, name: str) -> Path | None:
        """Local path of a file with the bytes that were stored, or None if there is none or it has others."""
        ...

    def damaged(self, manifest: Manifest) -> str | None:
        """The first file of an artifact that does not hold, or None if all do."""
        ...

    def location(self, manifest: Manifest, name: str) -> UPath:
        """Where a file of an artifact lies."""
        ...

    def set_aside(self, place: str) -> None:
        """Move a damaged artifact out of the way and keep its bytes; nothing happens if it is not there."""
        ...

    def remove(self, place: str) -> None:
        """Remove an artifact; killed midway, this leaves nothing that would be taken for one."""
        ...

    def named(self, file_name: str) -> list[str]:
        """Places of all files of this name that lie beside or directly in artifacts, sorted."""
        ...

    def asides(self) -> list[str]:
        """Places that `set_aside` moved artifacts to, sorted."""
        ...

    def unfinished(self) -> list[str]:
        """Places of uploads that came to no manifest, sorted; none where a commit is a rename."""
        ...

    def marks(self, place: str) -> dict[str, object] | None:
        """What differs once a note or a manifest below a place is written, moved or removed; no file is read for it.

        None where that cannot be told without asking another machine.
        """
        ...

    def last_change(self, place: str) -> float:
        """When anything of a folder changed last, in seconds since the epoch."""
        ...


def place_of(manifest: Manifest) -> str:
    """Where an artifact lies, relative to the store."""
    return f"{manifest.asset}/{manifest.partition}/{manifest.input_key}"


def holds(path: Path, record: FileRecord) -> bool:
    """Whether a local file has the bytes that were stored."""
    from stalign_core.store.hashing import file_sha256

    return path.is_file() and path.stat().st_size == record.size and file_sha256(path) == record.sha256

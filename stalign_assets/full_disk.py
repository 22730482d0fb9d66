"""A disk without room, whichever library meets it first, becomes one line.

HDF5, safetensors, DuckDB and SQLite tell it each in their own words and types, few of them as an `OSError` with its
number; so the words are looked for as well.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stalign_core.errors import ArtifactError, StalignError

_NUMBERS: Final = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "it is read-only",
}
_WORDS: Final = {
    "no space left on device": "no space is left",
    "disk is full": "no space is left",
    "storagefull": "no space is left",
    "disk quota exceeded": "the disk quota is used up",
    "read-only file system": "it is read-only",
    "readonly database": "it is read-only",
    "disk i/o error": "nothing more can be written",  # SQLite, where not even its journal finds room
}


@contextmanager
def naming_full_disk(where: str, lost: str) -> Iterator[None]:
    """Turn the failure of a write for want of room into one line.

    Parameters
    ----------
    where
        The folder or store that is written to.
    lost
        What could not be kept, to follow "so".

    Raises
    ------
    ArtifactError
        If the disk is full, over its quota or read-only.
    """
    try:
        yield
    except StalignError:
        raise
    except Exception as error:
        reason = disk_fault(error)
        if reason is None:
            raise
        raise ArtifactError(
            where, f"{reason}, so {lost}", remedy="make room and run again; everything kept before is whole"
        ) from None


def disk_fault(error: BaseException | None) -> str | None:
    """Why the disk took no more, if that is what `error` or an error behind it tells."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            return _NUMBERS[error.errno]
        told = str(error).lower()
        for words, reason in _WORDS.items():
            if words in told:
                return reason
        error = error.__cause__ or error.__context__
    return None

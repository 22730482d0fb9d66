"""Arrays that a file declares and does not hold: HDF5 fills what was never written, as large as it is said to be."""

from __future__ import annotations

from typing import Any, Final

_RATIO: Final = 2000
"""Most bytes that a stored byte may stand for: deflate reaches 1,032."""
_FREE: Final = 2**22
"""Bytes that need no storage: small arrays may be left to their fill value."""


def refuse_unstored(file: Any) -> None:
    """Look at every array of an open HDF5 file before any is read.

    Raises
    ------
    ValueError
        If one is far larger than what is stored of it could fill, and would fill the memory instead.
    """
    import h5py

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            stored = item.id.get_storage_size()
            if item.nbytes > _FREE + _RATIO * stored:
                raise ValueError(f"{name} is said to have {item.nbytes:,} bytes, of which {stored:,} are stored")

    file.visititems(look)

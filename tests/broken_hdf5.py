"""HDF5 files from which the library does not come back."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np

_TREE_LEVEL, _TREE_RIGHT, _TREE_CHILD = 5, 16, 32
"""Places in a node of HDF5's first kind of tree: its level, its right neighbour, its first child."""


def write_circular(path: Path) -> Path:
    """An HDF5 file whose tree of names has its root as its own neighbour."""
    payload, root = _with_tree(path)
    struct.pack_into("<Q", payload, root + _TREE_RIGHT, root)
    path.write_bytes(payload)
    return path


def write_deadly(path: Path) -> Path:
    """An HDF5 file whose tree of names has its root as its own child, down to the end of the stack."""
    payload, root = _with_tree(path)
    struct.pack_into("<Q", payload, root + _TREE_CHILD, root)
    payload[root + _TREE_LEVEL] = 1
    path.write_bytes(payload)
    return path


def _with_tree(path: Path) -> tuple[bytearray, int]:
    with h5py.File(path, "w") as file:
        file["matrix/data"] = np.arange(5)
    payload = bytearray(path.read_bytes())
    return payload, payload.index(b"TREE")

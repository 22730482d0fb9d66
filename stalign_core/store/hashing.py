"""Hashes of files, of settings and of logical content.

A logical hash covers names, types, shapes and values, not bytes on disk: a library that writes the same content in
other bytes changes nothing downstream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

KEY_LENGTH: Final = 32
"""Hex digits of an input key or a data version (128 bits)."""

_CHUNK: Final = 1 << 22


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(value: Any) -> str:
    """Hash of a JSON-able value, `KEY_LENGTH` hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_LENGTH]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def arrays_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """Logical hash of named arrays."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        _feed_array(sha, name, arrays[name])
    return sha.hexdigest()[:KEY_LENGTH]


def table_hash(table: pd.DataFrame) -> str:
    """Logical hash of a table: column names, types and values in row order; the index does not count."""
    sha = hashlib.sha256()
    for name in table.columns:
        _feed_column(sha, str(name), table[name])
    return sha.hexdigest()[:KEY_LENGTH]


def anndata_hash(adata: AnnData) -> str:
    """Logical hash of X, obs, var, obsm and uns of an AnnData with sparse counts."""
    counts = adata.X.tocsr()
    counts.sort_indices()
    sha = hashlib.sha256()
    for name, array in (("data", counts.data), ("indices", counts.indices), ("indptr", counts.indptr)):
        _feed_array(sha, name, array.astype(np.int64))
    sha.update(repr(counts.shape).encode())
    for frame in (adata.obs, adata.var):
        _feed_strings(sha, "index", frame.index.astype(str))
        for name in sorted(frame.columns):
            _feed_column(sha, name, frame[name])
    for name in sorted(adata.obsm):
        _feed_array(sha, name, np.asarray(adata.obsm[name]))
    sha.update(canonical_json(dict(adata.uns)).encode())
    return sha.hexdigest()[:KEY_LENGTH]


def json_hash(value: Any) -> str:
    """Logical hash of a JSON document."""
    return digest(value)


def _feed_array(sha: Any, name: str, array: np.ndarray) -> None:
    array = np.ascontiguousarray(array)
    sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
    sha.update(array.reshape(-1).view(np.uint8).data if array.size else b"")


def _feed_column(sha: Any, name: str, column: pd.Series) -> None:
    import pandas as pd

    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        _feed_array(sha, name, column.to_numpy())
        return
    missing = column.isna().to_numpy()
    texts = column.astype(object).where(~pd.Series(missing, index=column.index), "").astype(str)
    _feed_strings(sha, name, texts)
    _feed_array(sha, f"{name}|missing", missing)


def _feed_strings(sha: Any, name: str, texts: Iterable[str]) -> None:
    encoded = [text.encode() for text in texts]
    sha.update(f"{name}|text|{len(encoded)}|".encode())
    sha.update(np.array([len(text) for text in encoded], dtype=np.int64).tobytes())
    sha.update(b"".join(encoded))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON-able")

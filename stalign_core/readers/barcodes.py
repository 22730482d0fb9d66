"""Matching the barcodes of one file to those of another that names the same spots a little differently."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Space Ranger's "-1"; R turns it into ".1".
_SUFFIX = r"[-.]\d+$"


def match_barcodes(wanted: NDArray[np.object_], known: NDArray[np.object_], sample: str) -> NDArray[np.intp]:
    """Find each of `wanted` among `known`.

    Merged files put ``<sample>_`` in front of a barcode, and tools differ in the suffix they give it. Barcodes are
    compared as they are, then without the prefix, without the suffix, and without both; what matches most counts, and
    of equals the first. A comparison that would make two spots of one file alike is not tried.

    Returns
    -------
    (n_wanted,) positions in `known`, -1 where there is none.
    """
    best = np.full(len(wanted), -1, dtype=np.intp)
    prefix = f"^{re.escape(sample)}_"
    for pattern in ("", prefix, _SUFFIX, f"{prefix}|{_SUFFIX}"):
        left, right = _without(pattern, wanted), _without(pattern, known)
        if not (left.is_unique and right.is_unique):
            continue
        found = right.get_indexer(left)
        if (found >= 0).sum() > (best >= 0).sum():
            best = found
        if (best >= 0).all():
            break
    return best


def _without(pattern: str, barcodes: NDArray[np.object_]) -> pd.Index:
    index = pd.Index(barcodes, dtype=object)
    return index.str.replace(pattern, "", regex=True) if pattern and len(index) else index

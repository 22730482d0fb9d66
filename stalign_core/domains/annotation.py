"""Which spots carry an expert's label that can be counted and scored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

IGNORED_LABELS: Final = ("undetermined",)
"""Labels by which annotators say that a spot could not be told (HER2+ breast cancer set, Andersson et al. 2021)."""


def is_annotated(labels: Any, ignored_labels: Collection[str] = IGNORED_LABELS) -> npt.NDArray[np.bool_]:
    """Whether each spot has a label that counts.

    Parameters
    ----------
    labels
        (n_spots,) labels; None, NaN, NA and the empty string mean that there is none.
    ignored_labels
        Labels that say nothing about the tissue.

    Returns
    -------
    (n_spots,) bool.
    """
    series = pd.Series(np.asarray(labels, dtype=object))
    missing = series.isna() | (series.astype(str).str.strip() == "")
    return np.asarray(~missing & ~series.isin(list(ignored_labels)), dtype=bool)


def distinct_labels(labels: Any, ignored_labels: Collection[str] = IGNORED_LABELS) -> list[str]:
    """The labels that count, each once, sorted."""
    counted = np.asarray(labels, dtype=object)[is_annotated(labels, ignored_labels)]
    return sorted({str(label) for label in counted})

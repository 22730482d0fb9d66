"""Correct a batch that was not fitted, by the name of the method and what it learnt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.registry import METHODS
from stalign_core.correction.result import CorrectionTerms, Features
from stalign_core.errors import CorrectionError


def check_can_map(method: str) -> None:
    """Refuse a method that cannot place new samples.

    Raises
    ------
    CorrectionError
        If the method is unknown, or aligns the batches it is given and learns nothing that a new one could use.
    """
    able = " or ".join(name for name, record in METHODS.items() if record.maps)
    if method not in METHODS:
        raise CorrectionError("correction", f"'{method}' is no method", expected=able)
    if not METHODS[method].maps:
        raise CorrectionError(
            method,
            "cannot place new samples: it aligns batches with one another and learns no mapping",
            expected=able,
            remedy="map onto a variant of one of these, or add the samples to the sample sheet and run the study",
        )


def map_embedding(method: str, features: Features, terms: CorrectionTerms) -> NDArray[np.float32]:
    """Correct the features of one new batch.

    Parameters
    ----------
    method
        A name in `METHODS` that corrects embeddings and can map.
    features
        Of one batch, (n_spots, n_components).
    terms
        What the method learnt.

    Raises
    ------
    CorrectionError
        If the method cannot map an embedding, or the features do not fit what was learnt.
    """
    check_can_map(method)
    mapping = METHODS[method].map_embedding
    if mapping is None:
        able = " or ".join(name for name, record in METHODS.items() if record.map_embedding is not None)
        raise CorrectionError("correction", f"'{method}' does not map embeddings", expected=able)
    return mapping(features, terms)


def map_where_present(
    method: str, features: Features, present: NDArray[np.bool_], terms: CorrectionTerms
) -> NDArray[np.float32]:
    """As `map_embedding`, over the spots that hold a measurement; the others are zero and weigh nothing.

    Parameters
    ----------
    present
        (n_spots,), spots with a measurement; the rest as in `map_embedding`.
    """
    mapped = np.zeros(features.shape, dtype=np.float32)
    if present.any():
        mapped[present] = map_embedding(method, features[present], terms)
    return mapped

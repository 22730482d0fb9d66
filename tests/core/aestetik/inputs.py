"""Small made-up cohorts that the tests of the model share."""

from __future__ import annotations

from typing import Any

import numpy as np

from stalign_core.aestetik.settings import AestetikSettings

QUICK = AestetikSettings(epochs=4, batch_size=64, device="cpu")


def striped_cohort(n_samples: int = 2, side: int = 12, n_features: int = 4, seed: int = 0) -> dict[str, Any]:
    """Square samples of three stripes each; both modalities tell the stripes apart under noise."""
    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(side * side), side)
    stripe = np.tile(col * 3 // side, n_samples)
    n_spots = len(stripe)
    expression = rng.normal(size=(3, n_features))[stripe] * 3 + rng.normal(size=(n_spots, n_features))
    morphology = rng.normal(size=(3, n_features))[stripe] * 3 + rng.normal(size=(n_spots, n_features))
    return {
        "expression": expression.astype(np.float32),
        "morphology": morphology.astype(np.float32),
        "lattice": np.tile(np.column_stack([row, col]), (n_samples, 1)).astype(np.int32),
        "sample": np.repeat(np.arange(n_samples), side * side),
        "has_morphology": np.ones(n_spots, dtype=bool),
        "stripe": stripe,
    }


def model_arguments(cohort: dict[str, Any]) -> dict[str, Any]:
    """What `fit` and `embed` take of a cohort."""
    return {name: value for name, value in cohort.items() if name != "stripe"}

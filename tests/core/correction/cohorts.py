"""Small cohorts with a known batch effect, for the tests of correction."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors


def shifted_batches(seed: int = 0, n_per_batch: int = 200, n_components: int = 10) -> tuple[np.ndarray, ...]:
    """Three cell types in two batches, the second shifted: features (n, d), batches (n,), types (n,); mixed order."""
    rng = np.random.default_rng(seed)
    types = rng.integers(3, size=2 * n_per_batch)
    batches = np.repeat(["one", "two"], n_per_batch)
    centres = rng.normal(0, 6, (3, n_components))
    shift = rng.normal(0, 3, n_components)
    features = centres[types] + rng.normal(size=(len(types), n_components))
    features[batches == "two"] += shift
    order = rng.permutation(len(types))
    return features[order].astype(np.float32), batches[order], types[order]


def batch_counts(seed: int = 0, n_per_batch: int = 150, n_genes: int = 60) -> tuple[csr_matrix, np.ndarray]:
    """Negative-binomial counts of two programs in two batches, the second with its own gene efficiencies."""
    rng = np.random.default_rng(seed)
    programs = rng.lognormal(1, 0.8, (2, n_genes))
    batches = np.repeat(["one", "two"], n_per_batch)
    mean = programs[rng.integers(2, size=2 * n_per_batch)]
    mean = np.where((batches == "two")[:, None], mean * rng.lognormal(0, 0.5, n_genes), mean)
    return csr_matrix(rng.negative_binomial(2, 1 / (1 + mean / 2)).astype(np.int32)), batches


def mixing(features: np.ndarray, batches: np.ndarray, n_neighbors: int = 15) -> float:
    """Share of each spot's neighbours that come from another batch, averaged; half is perfect for two batches."""
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(features).kneighbors(return_distance=False)
    return float((batches[neighbors] != batches[:, None]).mean())


def type_purity(features: np.ndarray, types: np.ndarray, n_neighbors: int = 15) -> float:
    """Share of each spot's neighbours that are of its own type."""
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(features).kneighbors(return_distance=False)
    return float((types[neighbors] == types[:, None]).mean())

"""Cohorts of any size, made in memory: layered domains on hexagonal sections, under noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SECTION_ROWS, SECTION_COLUMNS = 50, 100
"""Cells of a section's packed lattice: 5,000 spots, as many as a full Visium slide."""
LAYER_ROWS = 8
"""Rows of a layer, before it is bent."""


@dataclass(frozen=True)
class SyntheticCohort:
    """Arrays of n spots, as the model takes them.

    Attributes
    ----------
    expression, morphology
        (n, channels) float32.
    lattice
        (n, 2) packed (row, column).
    sample
        (n,) section of each spot.
    domain
        (n,) the layer it was drawn from.
    """

    expression: np.ndarray
    morphology: np.ndarray
    lattice: np.ndarray
    sample: np.ndarray
    domain: np.ndarray


def synthetic_cohort(n_spots: int, n_channels: int = 20, n_domains: int = 7, seed: int = 0) -> SyntheticCohort:
    """Sections of 5,000 spots (the last may be smaller) with `n_channels` of either modality."""
    rng = np.random.default_rng(seed)
    cell = np.arange(n_spots) % (SECTION_ROWS * SECTION_COLUMNS)
    sample = np.arange(n_spots) // (SECTION_ROWS * SECTION_COLUMNS)
    row, column = np.divmod(cell, SECTION_COLUMNS)
    bend = 4 * np.sin(column / 15 + rng.uniform(0, 6, sample[-1] + 1)[sample])
    domain = (np.clip(row + bend, 0, SECTION_ROWS - 1) // LAYER_ROWS).astype(np.int64) % n_domains
    modalities = []
    for _ in range(2):
        centres = rng.normal(size=(n_domains, n_channels)).astype(np.float32)
        noise = rng.standard_normal((n_spots, n_channels), dtype=np.float32)
        modalities.append(centres[domain] + 1.5 * noise)
    return SyntheticCohort(*modalities, np.column_stack([row, column]).astype(np.int32), sample, domain)

"""How good an embedding and its domains are: agreement, separation, mixing, coherence."""

from __future__ import annotations

from stalign_core.metrics.agreement import adjusted_rand_index, normalized_mutual_information
from stalign_core.metrics.coherence import chaos, chaos_standardised, pas
from stalign_core.metrics.composite import composite_score
from stalign_core.metrics.mixing import ilisi, kbet
from stalign_core.metrics.neighborhoods import Neighborhoods, find_neighborhoods
from stalign_core.metrics.separation import rescaled_silhouettes
from stalign_core.metrics.table import COLUMNS, Measurements, SkippedMetric, measure

__all__ = [
    "COLUMNS",
    "Measurements",
    "Neighborhoods",
    "SkippedMetric",
    "adjusted_rand_index",
    "chaos",
    "chaos_standardised",
    "composite_score",
    "find_neighborhoods",
    "ilisi",
    "kbet",
    "measure",
    "normalized_mutual_information",
    "pas",
    "rescaled_silhouettes",
]

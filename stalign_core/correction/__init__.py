"""Batch correction: one file per method, one registry."""

from stalign_core.correction.apply import correct_embedding, correct_where_present
from stalign_core.correction.mapping import check_can_map, map_embedding, map_where_present
from stalign_core.correction.registry import METHODS, MethodRecord
from stalign_core.correction.result import CorrectionResult, CorrectionTerms

__all__ = [
    "METHODS",
    "CorrectionResult",
    "CorrectionTerms",
    "MethodRecord",
    "check_can_map",
    "correct_embedding",
    "correct_where_present",
    "map_embedding",
    "map_where_present",
]

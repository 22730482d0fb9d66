"""Batch correction: one file per method, one registry."""

from stalign_core.correction.apply import correct_embedding, correct_where_present
from stalign_core.correction.registry import METHODS, MethodRecord
from stalign_core.correction.result import CorrectionResult

__all__ = ["METHODS", "CorrectionResult", "MethodRecord", "correct_embedding", "correct_where_present"]

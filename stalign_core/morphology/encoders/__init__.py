"""Encoders: functions from an image patch to a vector, each with the record of all that decides its output."""

from __future__ import annotations

from stalign_core.morphology.encoders.loading import Encoder, load_encoder
from stalign_core.morphology.encoders.records import RECORDS, EncoderRecord, record_of

__all__ = ["RECORDS", "Encoder", "EncoderRecord", "load_encoder", "record_of"]

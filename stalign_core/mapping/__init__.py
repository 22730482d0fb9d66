"""New samples in a trained space: nothing is fitted, and what was trained stays as it is."""

from __future__ import annotations

from stalign_core.mapping.reference import Reference
from stalign_core.mapping.samples import map_samples
from stalign_core.mapping.section import MappedSection, encode_section, map_section, place_section
from stalign_core.mapping.storage import load_reference, save_reference

__all__ = [
    "MappedSection",
    "Reference",
    "encode_section",
    "load_reference",
    "map_samples",
    "map_section",
    "place_section",
    "save_reference",
]

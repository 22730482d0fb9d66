"""Spots of a section as GeoJSON (RFC 7946) detections for QuPath, on its full-resolution image."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from stalign_core import keys
from stalign_core.exports.section import ExportSection, domain_colors
from stalign_core.files import replace_file

CORNERS: Final = 16
"""Of the polygon that stands for a spot's circle: GeoJSON has no circles."""


def write_qupath(path: Path, section: ExportSection, domains: list[str]) -> int:
    """Write one detection per spot, classified by its domain, in full-resolution pixels; returns how many.

    Parameters
    ----------
    path
        The .geojson to be.
    section
        Its spots.
    domains
        All domains of the cohort, so that a domain has one colour in every section.
    """
    colors = {name: _rgb(color) for name, color in domain_colors(domains).items()}
    turns = np.arange(CORNERS + 1) % CORNERS * (2 * math.pi / CORNERS)
    circle = np.column_stack([np.cos(turns), np.sin(turns)]) * section.spot_diameter / 2
    features = [
        _feature(name, str(domain), colors[str(domain)], (circle + centre).round(2).tolist())
        for name, domain, centre in zip(
            section.obs[keys.BARCODE], section.obs[keys.DOMAIN], section.spatial, strict=True
        )
    ]
    replace_file(path, json.dumps({"type": "FeatureCollection", "features": features}))
    return len(features)


def _feature(name: str, domain: str, color: list[int], ring: list[list[float]]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "detection",
            "name": name,
            "classification": {"name": f"domain {domain}", "color": color},
        },
    }


def _rgb(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]

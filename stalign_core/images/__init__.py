"""Histology images, read in windows.

Pixels are addressed as stored in the file, (0, 0) being the corner of the first stored pixel: an orientation
tag is not applied, because spot positions refer to the stored raster.
"""

from __future__ import annotations

from stalign_core.images.facts import ImageFacts, is_zarr_group
from stalign_core.images.opening import open_slide, probe_image
from stalign_core.images.overview import read_overview, reduce_pixels
from stalign_core.images.slide import Slide

__all__ = ["ImageFacts", "Slide", "is_zarr_group", "open_slide", "probe_image", "read_overview", "reduce_pixels"]

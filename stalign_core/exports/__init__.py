"""Results in the formats of other tools: scanpy, SpatialData, Loupe Browser, QuPath."""

from stalign_core.exports.atlas import write_atlas
from stalign_core.exports.loupe import write_loupe
from stalign_core.exports.qupath import write_qupath
from stalign_core.exports.section import ExportSection
from stalign_core.exports.spatialdata_store import write_spatialdata

__all__ = ["ExportSection", "write_atlas", "write_loupe", "write_qupath", "write_spatialdata"]

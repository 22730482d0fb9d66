"""Readers: every input format into one form, checked, with errors that name the file.

What a section looks like once read is said by `read_sample`; what is known besides, by `SampleFacts`.
"""

from __future__ import annotations

from stalign_core.readers.cohort import read_cohort
from stalign_core.readers.external import read_external_representation, representation_file
from stalign_core.readers.facts import SampleFacts
from stalign_core.readers.genes import SharedGenes, share_genes
from stalign_core.readers.layout import H5adFile, SpaceRangerFiles, locate_section, parts_of_section
from stalign_core.readers.pictures import image_file
from stalign_core.readers.sample import read_sample, source_files
from stalign_core.readers.zarr_layout import ZarrStore

__all__ = [
    "H5adFile",
    "SampleFacts",
    "SharedGenes",
    "SpaceRangerFiles",
    "ZarrStore",
    "image_file",
    "locate_section",
    "parts_of_section",
    "read_cohort",
    "read_external_representation",
    "read_sample",
    "representation_file",
    "share_genes",
    "source_files",
]

"""A whole cohort as one AnnData, for work in a notebook; the assets read sample by sample instead."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stalign_core import keys
from stalign_core.images import read_overview
from stalign_core.progress import Progress, silent
from stalign_core.readers.facts import SampleFacts
from stalign_core.readers.genes import SharedGenes, share_genes
from stalign_core.readers.native_probe import check_native_files
from stalign_core.readers.pictures import plotted_as
from stalign_core.readers.sample import read_sample, source_files

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


def read_cohort(sheet: Path | str, progress: Progress | None = None) -> AnnData:
    """Read every sample of a sheet into one AnnData, joined on the genes that all of them have.

    Another process looks through the files first, for a damaged one can lead HDF5 in circles; it takes a second.

    Returns
    -------
    AnnData with obs_names ``<sample>_<barcode>`` and, in the order of the sheet, what `read_sample` gives.
        obs array_row and array_col are -1 for samples without a lattice. uns["stalign"] holds ``samples`` (the facts
        of each) and ``genes_lost`` (how many genes of each are not shared); uns["spatial"] a picture and scale factors
        per sample, as scanpy's plots expect them, where there is a small one.

    Raises
    ------
    SampleSheetError, InputDataError, ImageError
        If the sheet, a sample, or the samples together cannot be used.
    """
    import anndata

    # Here, because the sheet's module imports this package.
    from stalign_core.cohort import read_sample_sheet

    progress = progress or silent
    cohort = read_sample_sheet(sheet)
    check_native_files(path for sample in cohort.samples for path in source_files(sample))
    sections: dict[str, AnnData] = {}
    for done, sample in enumerate(cohort.samples):
        progress(f"read {sample.sample}", done, len(cohort.samples))
        sections[sample.sample] = read_sample(sample)
    progress("read samples", len(cohort.samples), len(cohort.samples))
    facts = {name: SampleFacts.from_dict(section.uns[keys.STALIGN]) for name, section in sections.items()}
    shared = share_genes({name: section.var_names.to_numpy() for name, section in sections.items()}, str(sheet))
    _log(shared, facts)
    symbols = next(iter(sections.values())).var.loc[shared.genes, [keys.SYMBOL]]
    joined = anndata.concat([_prepared(name, section, shared) for name, section in sections.items()], merge=None)
    joined.var = symbols
    for column in (keys.SAMPLE, keys.DONOR, keys.LABEL):
        joined.obs[column] = pd.Categorical(joined.obs[column])
    joined.uns[keys.STALIGN] = {
        "samples": {name: fact.to_dict() for name, fact in facts.items()},
        "genes_lost": shared.lost,
    }
    joined.uns[keys.SPATIAL] = {name: _spatial_entry(fact) for name, fact in facts.items()}
    return joined


def _log(shared: SharedGenes, facts: dict[str, SampleFacts]) -> None:
    for name, fact in facts.items():
        for line in fact.warnings:
            logger.warning("sample %s: %s", name, line)
    for name, lost in shared.lost.items():
        if lost:
            logger.warning(
                "sample %s: %d of its %d genes are not in every sample and are left out",
                name,
                lost,
                lost + len(shared.genes),
            )
    logger.info("%d samples share %d genes", len(facts), len(shared.genes))


def _prepared(name: str, section: AnnData, shared: SharedGenes) -> AnnData:
    """The section on the shared genes, its spots named uniquely in the cohort."""
    section = section[:, shared.genes].copy()
    section.X.sort_indices()
    section.obs_names = name + "_" + section.obs_names
    for column in (keys.ARRAY_ROW, keys.ARRAY_COL):
        if column not in section.obs:
            section.obs[column] = np.int32(-1)
    return section


def _spatial_entry(facts: SampleFacts) -> dict[str, Any]:
    """What scanpy's plots look up under ``uns["spatial"][sample]``."""
    entry: dict[str, Any] = {
        "images": {},
        "scalefactors": {"spot_diameter_fullres": facts.spot_diameter},
    }
    if facts.image:
        pixels, scale = read_overview(facts.image)
        kind = plotted_as(facts.image_kind)
        entry["images"][kind] = pixels
        entry["scalefactors"][f"tissue_{kind}_scalef"] = facts.image_scale * scale
    return entry

"""One section of a sample sheet as AnnData."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.readers.annotation import read_annotation
from stalign_core.readers.facts import SampleFacts
from stalign_core.readers.genes import key_space_of
from stalign_core.readers.h5ad import read_h5ad_section
from stalign_core.readers.lattice import estimate_spot_diameter, lattice_of
from stalign_core.readers.layout import H5adFile, SectionFiles, locate_section
from stalign_core.readers.pictures import check_spots_on_image, choose_image, image_file, resolution_warning
from stalign_core.readers.section import Section
from stalign_core.readers.spaceranger import read_spaceranger_section
from stalign_core.readers.spatialdata_store import read_spatialdata_section
from stalign_core.readers.zarr_layout import ZarrStore
from stalign_core.wording import counted, have

if TYPE_CHECKING:
    from anndata import AnnData

    from stalign_core.cohort import Sample


def read_sample(sample: Sample) -> AnnData:
    """Read a section, its labels and its facts.

    Returns
    -------
    AnnData of the in-tissue spots, in the order of the counts.
        X: raw counts, CSR int32 with sorted indices. obs: sample, donor, barcode, label (missing where there is none)
        and, on a lattice, array_row and array_col (int32). var: indexed by gene key, symbol. obsm["spatial"]: (n, 2)
        float64 as (x, y) in full-resolution pixels. uns["stalign"]: `SampleFacts`.

    Raises
    ------
    InputDataError
        If counts, positions or annotation cannot be used; the line names the file and what is wrong with it.
    ImageError
        If the image is broken.
    """
    import anndata

    files = locate_section(sample.path, sample.bin, sample.table)
    section = _read_section(files, sample)
    table = section.table
    facts = _facts(sample, files, section)
    obs = pd.DataFrame({keys.BARCODE: table.barcodes}, index=pd.Index(table.barcodes, dtype=object))
    obs[keys.SAMPLE] = pd.Categorical([sample.sample] * len(obs))
    obs[keys.DONOR] = pd.Categorical([sample.donor] * len(obs))
    obs[keys.LABEL] = _labels(sample, section)
    if section.array is not None and facts.lattice != "irregular":
        obs[keys.ARRAY_ROW], obs[keys.ARRAY_COL] = section.array.T
    return anndata.AnnData(
        X=table.counts,
        obs=obs,
        var=pd.DataFrame({keys.SYMBOL: table.symbols}, index=pd.Index(table.genes, dtype=object)),
        obsm={keys.SPATIAL: section.spatial},
        uns={keys.STALIGN: facts.to_dict()},
    )


def source_files(sample: Sample) -> list[Path]:
    """Absolute paths of the raw files that `read_sample` reads, found without opening any; of a .zarr store and of an
    OME-Zarr image, the folders of the elements that are read.

    Raises
    ------
    InputDataError
        If the section is incomplete.
    """
    files = locate_section(sample.path, sample.bin, sample.table)
    sources: list[Path]
    if isinstance(files, H5adFile):
        sources = [files.path]
    elif isinstance(files, ZarrStore):
        sources = files.sources
    else:
        sources = [*files.matrix_files, files.positions, files.scale_factors]
    sources += [path for path in (image_file(sample, files), sample.annotation) if path is not None]
    return [path.resolve() for path in sources]


def _read_section(files: SectionFiles, sample: Sample) -> Section:
    if isinstance(files, H5adFile):
        section = read_h5ad_section(files.path, sample.sample)
    elif isinstance(files, ZarrStore):
        section = read_spatialdata_section(files, image_file(sample, files), sample.sample)
    else:
        section = read_spaceranger_section(files, sample.sample)
    counts = section.table.counts
    if counts.shape[0] == 0:
        raise InputDataError(
            str(sample.path),
            f"sample {sample.sample} has no spot on the tissue",
            expected="one spot or more with counts and in_tissue 1",
            remedy="remove the row from the sample sheet",
        )
    if counts.nnz == 0:
        raise InputDataError(
            str(sample.path),
            f"sample {sample.sample} has no count in any of its {counts.shape[0]} spots",
            expected="spots with counts",
            remedy="remove the row from the sample sheet",
        )
    return section


def _facts(sample: Sample, files: SectionFiles, section: Section) -> SampleFacts:
    warnings = [*section.table.warnings, *section.warnings]
    n_empty = int((np.diff(section.table.counts.indptr) == 0).sum())
    if n_empty:
        warnings.append(f"{counted(n_empty, 'spot')} {have(n_empty)} no counts")
    lattice = section.lattice or lattice_of(section.array)
    if section.array is not None and lattice == "irregular":
        warnings.append("two spots share one array_row and array_col: the array coordinates are not used")
    diameter = section.spot_diameter
    if diameter is None:
        diameter = estimate_spot_diameter(section.spatial, lattice)
        warnings.append(f"the input gives no spot diameter: {diameter:.1f} pixels estimated from the pitch")
    picture = choose_image(sample, files)
    if picture is not None:
        warnings.extend(check_spots_on_image(sample, section.spatial, picture))
    warnings.extend(resolution_warning(picture, diameter))
    return SampleFacts(
        lattice=lattice,
        key_space=key_space_of(section.table.genes),
        image="" if picture is None else str(picture.path.resolve()),
        image_kind="none" if picture is None else picture.kind,
        image_scale=0.0 if picture is None else picture.scale,
        spot_diameter=diameter,
        n_spots_off_tissue=section.n_spots_off_tissue,
        warnings=warnings,
        sources=[str(path) for path in source_files(sample)],
    )


def _labels(sample: Sample, section: Section) -> pd.Categorical:
    barcodes = section.table.barcodes
    if sample.annotation is None:
        return pd.Categorical([None] * len(barcodes))
    return read_annotation(sample.annotation, barcodes, section.known_barcodes, sample.sample)

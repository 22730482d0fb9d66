"""Writes a section as a Space Ranger output folder of a chosen vintage.

What differed between versions and matters to a reader is what a `Vintage` names: where positions stand and whether they
have a header, whether pixels are whole numbers, and which forms of the matrix exist. Files carry no time stamps, so the
same section gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from stalign_core.simulate.design import HistologyDesign
from stalign_core.simulate.section import FIDUCIAL_DIAMETER, SimulatedSection

GENOME: Final = "simulated"
FEATURE_TYPE: Final = "Gene Expression"
TILE: Final = 256


@dataclass(frozen=True)
class Vintage:
    """A version of Space Ranger's output and of the study around it.

    Attributes
    ----------
    software
        Version string written into the matrix.
    positions
        ``list``: ``tissue_positions_list.csv`` with no header (version 1); ``table``: ``tissue_positions.csv``
        with one.
    pixels
        Whether positions are whole pixels (up to version 2) or fractions.
    matrix
        Forms of the count matrix that are kept.
    full_resolution
        Whether the study kept the full-resolution image.
    all_genes
        Whether every gene of the cohort was measured.
    """

    software: str
    positions: Literal["list", "table"]
    pixels: Literal["whole", "fractional"]
    matrix: tuple[Literal["h5", "mtx"], ...]
    full_resolution: bool = True
    all_genes: bool = True


VINTAGES: Final = (
    Vintage("spaceranger-1.3.1", "list", "whole", ("h5",)),
    Vintage("spaceranger-2.1.1", "table", "whole", ("h5",)),
    Vintage("spaceranger-2.1.1", "table", "whole", ("mtx",)),
    Vintage("spaceranger-3.0.0", "table", "fractional", ("h5",), all_genes=False),
    Vintage("spaceranger-1.3.1", "list", "whole", ("h5", "mtx"), full_resolution=False),
    Vintage("spaceranger-4.0.1", "table", "fractional", ("h5", "mtx")),
)
"""The vintages that a cohort's sections take in turn: six sections meet every path of the readers."""


def write_section(
    folder: Path, section: SimulatedSection, image: NDArray[np.uint8], vintage: Vintage, histology: HistologyDesign
) -> None:
    """Write counts, positions, pictures and scale factors of a section below `folder`.

    Parameters
    ----------
    folder
        The output folder, made if need be: what Space Ranger calls ``outs``.
    section
        The section.
    image
        (height, width, 3) uint8 full-resolution image; only its two small pictures are written here.
    vintage
        The layout.
    histology
        Sizes of the pictures.
    """
    spatial = folder / "spatial"
    spatial.mkdir(parents=True, exist_ok=True)
    order = np.argsort(section.tissue_barcodes)
    barcodes, counts = section.tissue_barcodes[order], section.counts[order]
    if "h5" in vintage.matrix:
        _write_h5(folder / "filtered_feature_bc_matrix.h5", section, barcodes, counts, vintage)
    if "mtx" in vintage.matrix:
        _write_mtx(folder / "filtered_feature_bc_matrix", section, barcodes, counts, vintage)
    _write_positions(spatial, section, vintage)
    scales = {
        "tissue_hires_scalef": _write_picture(spatial / "tissue_hires_image.png", image, histology.hires_side),
        "tissue_lowres_scalef": _write_picture(spatial / "tissue_lowres_image.png", image, histology.lowres_side),
        "spot_diameter_fullres": section.spot_diameter,
        "fiducial_diameter_fullres": FIDUCIAL_DIAMETER * section.spot_diameter,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales), encoding="utf-8")


def write_tiled_tiff(path: Path, image: NDArray[np.uint8], quality: int, pixels_per_centimetre: float) -> None:
    """Write a full-resolution image as a tiled JPEG-compressed TIFF with its resolution."""
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        image,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": quality},
        resolution=(pixels_per_centimetre, pixels_per_centimetre),
        resolutionunit="CENTIMETER",
        metadata=None,
    )


def write_annotation(path: Path, section: SimulatedSection, annotated: NDArray[np.bool_]) -> None:
    """Write barcode,label of the spots under tissue that an annotator named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"barcode": section.tissue_barcodes, "label": section.domain})[annotated]
    table.sort_values("barcode").to_csv(path, index=False)


def _write_h5(
    path: Path, section: SimulatedSection, barcodes: NDArray[np.str_], counts: sparse.csr_matrix, vintage: Vintage
) -> None:
    """Cell Ranger's third HDF5 layout: genes x spots, compressed by column, which is a CSR of spots x genes."""
    import h5py

    n_spots, n_genes = counts.shape
    with h5py.File(path, "w") as file:
        file.attrs["filetype"] = "matrix"
        file.attrs["version"] = 2
        file.attrs["software_version"] = vintage.software
        file.attrs["chemistry_description"] = "Simulated"
        file.attrs["library_ids"] = np.array([section.sample.encode()])
        matrix = file.create_group("matrix")
        matrix.create_dataset("barcodes", data=barcodes.astype("S"), compression="gzip")
        matrix.create_dataset("data", data=counts.data.astype(np.int32), compression="gzip")
        matrix.create_dataset("indices", data=counts.indices.astype(np.int64), compression="gzip")
        matrix.create_dataset("indptr", data=counts.indptr.astype(np.int64), compression="gzip")
        matrix.create_dataset("shape", data=np.array([n_genes, n_spots], dtype=np.int32))
        features = matrix.create_group("features")
        features.create_dataset("_all_tag_keys", data=np.array([b"genome"]))
        features.create_dataset("id", data=section.genes["gene_id"].to_numpy().astype("S"), compression="gzip")
        features.create_dataset("name", data=section.genes["symbol"].to_numpy().astype("S"), compression="gzip")
        features.create_dataset("genome", data=np.full(n_genes, GENOME.encode()), compression="gzip")
        features.create_dataset("feature_type", data=np.full(n_genes, FEATURE_TYPE.encode()), compression="gzip")


def _write_mtx(
    folder: Path, section: SimulatedSection, barcodes: NDArray[np.str_], counts: sparse.csr_matrix, vintage: Vintage
) -> None:
    """The three compressed text files of the matrix folder."""
    folder.mkdir(exist_ok=True)
    n_spots, n_genes = counts.shape
    features = section.genes.assign(feature_type=FEATURE_TYPE)
    entries = pd.DataFrame(
        {
            "gene": counts.indices + 1,
            "spot": np.repeat(np.arange(n_spots), np.diff(counts.indptr)) + 1,
            "count": counts.data,
        }
    )
    facts = json.dumps({"software_version": vintage.software, "format_version": 2})
    banner = f"%%MatrixMarket matrix coordinate integer general\n%metadata_json: {facts}\n"
    size = f"{n_genes} {n_spots} {counts.nnz}\n"
    _write_gzip(folder / "features.tsv.gz", features.to_csv(sep="\t", header=False, index=False))
    _write_gzip(folder / "barcodes.tsv.gz", "".join(f"{barcode}\n" for barcode in barcodes))
    _write_gzip(folder / "matrix.mtx.gz", banner + size + entries.to_csv(sep=" ", header=False, index=False))


def _write_gzip(path: Path, text: str) -> None:
    """Compress without a file name or time inside, so that bytes depend on the text alone."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as file:
        file.write(text.encode())
    path.write_bytes(buffer.getvalue())


def _write_positions(spatial: Path, section: SimulatedSection, vintage: Vintage) -> None:
    pixels = section.pixels.round().astype(int) if vintage.pixels == "whole" else section.pixels
    table = pd.DataFrame(
        {
            "barcode": section.barcodes,
            "in_tissue": section.in_tissue.astype(int),
            "array_row": section.lattice.array_row,
            "array_col": section.lattice.array_col,
            "pxl_row_in_fullres": pixels[:, 1],
            "pxl_col_in_fullres": pixels[:, 0],
        }
    )
    if vintage.positions == "list":
        table.to_csv(spatial / "tissue_positions_list.csv", index=False, header=False)
    else:
        table.to_csv(spatial / "tissue_positions.csv", index=False)


def _write_picture(path: Path, image: NDArray[np.uint8], longer_side: int) -> float:
    """Write the image with its longer side reduced to `longer_side` pixels; return pixels per full-resolution pixel."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = min(1.0, longer_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    Image.fromarray(image).resize(size, Image.Resampling.BOX).save(path)
    return float(scale)

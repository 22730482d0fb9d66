"""Expression embeddings computed elsewhere, such as a foundation model's: an obsm matrix of an .h5ad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.barcodes import match_barcodes
from stalign_core.readers.faults import reading
from stalign_core.readers.h5ad import read_barcodes
from stalign_core.readers.sample import read_sample

if TYPE_CHECKING:
    from stalign_core.cohort import Sample
    from stalign_core.settings import RepresentationSettings

_EXPECTED = "an .h5ad whose obsm holds the embedding, one row per spot"


def representation_file(sample: Sample, settings: RepresentationSettings) -> Path:
    """The .h5ad that holds the sample's embedding: `settings.file` from the sheet's folder, else the sample's own.

    Raises
    ------
    InputDataError
        If the file does not exist, or the sample has no .h5ad of its own and the setting names none.
    """
    if settings.file:
        path = sample.sheet.parent / settings.file.replace("{sample}", sample.sample)
    elif sample.path.suffix == ".h5ad":
        path = sample.path
    else:
        raise InputDataError(
            str(sample.path),
            f"is a {'.zarr store' if sample.path.suffix == '.zarr' else 'Space Ranger folder'},"
            f" of which no embedding '{settings.obsm}' is read",
            expected=_EXPECTED,
            remedy="name the files in the setting representations.<name>.file, '{sample}' standing for the sample",
        )
    if not path.is_file():
        raise InputDataError(
            str(path),
            f"does not exist: the embedding '{settings.obsm}' of sample {sample.sample} should be there",
            expected=_EXPECTED,
            remedy="correct the setting representations.<name>.file",
        )
    return path.resolve()


def read_external_representation(
    sample: Sample, settings: RepresentationSettings, barcodes: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Read the embedding of a section's spots.

    Parameters
    ----------
    barcodes
        The section's barcodes, as `read_sample` names them; the section is read to learn them unless they are given.

    Returns
    -------
    (n_spots, n_dimensions) in the order of `barcodes`.

    Raises
    ------
    InputDataError
        If the file or the obsm key is missing, the matrix is no numeric table of finite values, or spots lack a row.
    """
    import h5py

    path = representation_file(sample, settings)
    wanted = np.asarray(read_sample(sample).obs_names if barcodes is None else barcodes, dtype=object)
    with reading(path, _EXPECTED), h5py.File(path, "r") as file:
        matrix = _read_matrix(file, settings.obsm, path)
        known = read_barcodes(file, sample.sample)
    row_of = match_barcodes(wanted, known, sample.sample)
    lost = row_of < 0
    if lost.any():
        raise InputDataError(
            str(path),
            f"lacks {int(lost.sum())} of the {len(wanted)} spots of sample {sample.sample}"
            f" (first: {wanted[lost.argmax()]})",
            expected="one row per spot, named by barcode",
        )
    aligned = matrix[row_of]
    faulty = ~np.isfinite(aligned).all(axis=1)
    if faulty.any():
        raise InputDataError(
            f"{path}, obsm['{settings.obsm}']",
            f"{int(faulty.sum())} spots have values that are not finite (first: {wanted[faulty.argmax()]})",
            expected="finite numbers",
        )
    return aligned


def _read_matrix(file: Any, key: str, path: Path) -> NDArray[np.float32]:
    from anndata.io import read_elem
    from scipy.sparse import issparse

    held = file.get("obsm", {})
    if key not in held:
        raise InputDataError(
            f"{path}, obsm",
            f"has no '{key}', only {', '.join(held) or 'nothing'}",
            expected=_EXPECTED,
            remedy="correct the setting representations.<name>.obsm",
        )
    element = read_elem(held[key])
    matrix = np.asarray(element.toarray() if issparse(element) else element)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.dtype.kind not in "iuf":
        raise InputDataError(
            f"{path}, obsm['{key}']",
            f"has the shape {matrix.shape} and type {matrix.dtype}",
            expected="numbers, one row per spot",
        )
    return matrix.astype(np.float32)

"""Sections kept as .h5ad: only the parts that stalign uses are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.readers.annotated import (
    array_of,
    bare_barcodes,
    check_spatial,
    gene_expression,
    gene_names,
    on_tissue,
)
from stalign_core.readers.counts import make_count_table
from stalign_core.readers.declared_size import refuse_unstored
from stalign_core.readers.faults import reading
from stalign_core.readers.section import Section

_PIXEL_COLUMNS = ("pxl_col_in_fullres", "pxl_row_in_fullres")
_AN_H5AD = "an .h5ad of anndata 0.7 or later with raw counts and spot positions"


def read_h5ad_section(path: Path, sample: str) -> Section:
    """Read the counts, positions and names of a section.

    Counts come from ``layers['counts']``, else from X. Genes are keyed by a column of var that holds Ensembl ids
    (``gene_ids``, ``ensembl`` and the like), else by var's names. Positions come from ``obsm['spatial']``, else from
    the pixel columns of obs; array coordinates from obs ``array_row`` and ``array_col``, where it has them.

    Raises
    ------
    InputDataError
        If the file is broken, lacks counts or positions, or holds values that are no counts or no positions.
    """
    import h5py

    with reading(path, _AN_H5AD), h5py.File(path, "r") as file:
        refuse_unstored(file)
        obs, var = _table(file, "obs", path), _table(file, "var", path)
        counts = _read_counts(file, path)
        spatial = _read_spatial(file, obs, path)
        diameter, warnings = _spot_diameter(file, sample)
        array = array_of(obs, path)
    genes, symbols = gene_names(var)
    kept_genes = gene_expression(var, path)
    barcodes = bare_barcodes(obs.index, sample)
    table = make_count_table(
        str(path), counts[:, kept_genes], barcodes=barcodes, genes=genes[kept_genes], symbols=symbols[kept_genes]
    )
    kept = on_tissue(obs)
    check_spatial(spatial[kept], barcodes[kept], path)
    return Section(
        table=table.of_spots(kept, barcodes[kept]),
        array=None if array is None else array[kept],
        spatial=spatial[kept],
        spot_diameter=diameter,
        known_barcodes=barcodes,
        n_spots_off_tissue=len(barcodes) - len(kept),
        warnings=warnings,
    )


def read_barcodes(file: Any, sample: str) -> NDArray[np.object_]:
    """Barcodes of an open .h5ad, without the sample's name in front."""
    from anndata.io import read_elem

    obs = file["obs"]
    names = pd.Index(np.asarray(read_elem(obs[obs.attrs["_index"]]), dtype=object))
    return bare_barcodes(names, sample)


def _table(file: Any, name: str, path: Path) -> pd.DataFrame:
    from anndata.io import read_elem

    table = read_elem(file[name])
    if not isinstance(table, pd.DataFrame):
        raise InputDataError(
            str(path),
            f"holds '{name}' in a form older than anndata 0.7",
            expected=_AN_H5AD,
            remedy="read and write it once with a current anndata",
        )
    return table


def _read_counts(file: Any, path: Path) -> Any:
    from anndata.io import read_elem
    from scipy.sparse import csr_matrix

    place = "layers/counts" if "counts" in file.get("layers", ()) else "X"
    if place not in file:
        raise InputDataError(str(path), "holds neither X nor layers['counts']", expected=_AN_H5AD)
    counts = csr_matrix(read_elem(file[place]))
    counts.check_format(full_check=True)
    return counts


def _read_spatial(file: Any, obs: pd.DataFrame, path: Path) -> NDArray[np.float64]:
    from anndata.io import read_elem

    if keys.SPATIAL in file.get("obsm", ()):
        spatial = np.asarray(read_elem(file[f"obsm/{keys.SPATIAL}"]), dtype=np.float64)
        if spatial.ndim != 2 or spatial.shape[1] < 2 or len(spatial) != len(obs):
            raise InputDataError(
                f"{path}, obsm['{keys.SPATIAL}']",
                f"has the shape {spatial.shape}",
                expected=f"({len(obs)}, 2): x and y of each spot in full-resolution pixels",
            )
        return np.ascontiguousarray(spatial[:, :2])
    if set(_PIXEL_COLUMNS) <= set(obs.columns):
        return obs[list(_PIXEL_COLUMNS)].to_numpy(dtype=np.float64)
    raise InputDataError(
        str(path),
        f"holds no spot positions: neither obsm['{keys.SPATIAL}'] nor obs {' and '.join(_PIXEL_COLUMNS)}",
        expected="x and y of each spot in full-resolution pixels",
    )


def _spot_diameter(file: Any, sample: str) -> tuple[float | None, tuple[str, ...]]:
    """The diameter under ``uns['spatial']``, where scanpy keeps it, and a warning for pictures kept there."""
    from anndata.io import read_elem

    libraries = file.get("uns/spatial", {})
    library = sample if sample in libraries else next(iter(libraries), None)
    if library is None or (library != sample and len(libraries) > 1):
        return None, ()
    held = libraries[library]
    warnings: tuple[str, ...] = ()
    if len(held.get("images", ())):
        warnings = ("the pictures inside the .h5ad are not used; name an image file in the sample sheet",)
    if "spot_diameter_fullres" not in held.get("scalefactors", ()):
        return None, warnings
    diameter = float(read_elem(held["scalefactors/spot_diameter_fullres"]))
    return (diameter if 0 < diameter < float("inf") else None), warnings

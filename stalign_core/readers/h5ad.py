"""Sections kept as .h5ad: only the parts that stalign uses are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.readers.counts import make_count_table
from stalign_core.readers.faults import reading
from stalign_core.readers.genes import key_space_of
from stalign_core.readers.section import Section

_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl", "feature_id")
_SYMBOL_COLUMNS = ("symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name")
_PIXEL_COLUMNS = ("pxl_col_in_fullres", "pxl_row_in_fullres")
_GENE_EXPRESSION = "Gene Expression"
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
        obs, var = _table(file, "obs", path), _table(file, "var", path)
        counts = _read_counts(file, path)
        spatial = _read_spatial(file, obs, path)
        diameter, warnings = _spot_diameter(file, sample)
        array = _array(obs, path)
    genes, symbols = _gene_names(var)
    kept_genes = _gene_expression(var, path)
    barcodes = _bare(obs.index, sample)
    table = make_count_table(
        str(path), counts[:, kept_genes], barcodes=barcodes, genes=genes[kept_genes], symbols=symbols[kept_genes]
    )
    on_tissue = _on_tissue(obs)
    _check_spatial(spatial[on_tissue], barcodes[on_tissue], path)
    return Section(
        table=table.of_spots(on_tissue, barcodes[on_tissue]),
        array=None if array is None else array[on_tissue],
        spatial=spatial[on_tissue],
        spot_diameter=diameter,
        known_barcodes=barcodes,
        n_spots_off_tissue=len(barcodes) - len(on_tissue),
        warnings=warnings,
    )


def read_barcodes(file: Any, sample: str) -> NDArray[np.object_]:
    """Barcodes of an open .h5ad, without the sample's name in front."""
    from anndata.io import read_elem

    obs = file["obs"]
    names = pd.Index(np.asarray(read_elem(obs[obs.attrs["_index"]]), dtype=object))
    return _bare(names, sample)


def _bare(names: pd.Index, sample: str) -> NDArray[np.object_]:
    bare: pd.Index = names.astype(str).str.removeprefix(f"{sample}_")
    return bare.to_numpy(dtype=object)


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


def _check_spatial(spatial: NDArray[np.float64], barcodes: NDArray[np.object_], path: Path) -> None:
    faulty = ~np.isfinite(spatial).all(axis=1)
    if faulty.any():
        raise InputDataError(
            f"{path}, obsm['{keys.SPATIAL}']",
            f"{int(faulty.sum())} spots have no finite position (first: {barcodes[faulty.argmax()]})",
            expected="x and y of each spot in full-resolution pixels",
        )


def _array(obs: pd.DataFrame, path: Path) -> NDArray[np.int32] | None:
    if not {keys.ARRAY_ROW, keys.ARRAY_COL} <= set(obs.columns):
        return None
    array = obs[[keys.ARRAY_ROW, keys.ARRAY_COL]].to_numpy(dtype=np.float64)
    if not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputDataError(
            f"{path}, obs {keys.ARRAY_ROW} and {keys.ARRAY_COL}",
            "hold values that are no integers",
            expected="row and column of each spot on the array",
        )
    return array.astype(np.int32)


def _on_tissue(obs: pd.DataFrame) -> NDArray[np.intp]:
    if keys.IN_TISSUE not in obs.columns:
        return np.arange(len(obs))
    return np.flatnonzero(obs[keys.IN_TISSUE].astype(str).isin(["1", "1.0", "True", "true"]).to_numpy())


def _gene_names(var: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Gene keys and symbols, each (n_genes,)."""
    names = var.index.astype(str).to_numpy(dtype=object)
    columns = {str(column).lower(): column for column in var.columns}
    for name in _ID_COLUMNS:
        if name in columns:
            ids = var[columns[name]].to_numpy(dtype=object)
            # A gene without an id keeps its name, which can only be its own.
            ids = np.where(pd.isna(ids) | (ids == ""), names, ids)
            if key_space_of(ids) == "ensembl":
                return ids, names
    symbols = next((columns[name] for name in _SYMBOL_COLUMNS if name in columns), None)
    if key_space_of(names) == "ensembl" and symbols is not None:
        return names, var[symbols].astype(object).to_numpy()
    return names, names


def _gene_expression(var: pd.DataFrame, path: Path) -> NDArray[np.intp]:
    if "feature_types" not in var.columns:
        return np.arange(len(var))
    kept = np.flatnonzero((var["feature_types"].astype(str) == _GENE_EXPRESSION).to_numpy())
    if len(kept) == 0:
        raise InputDataError(f"{path}, var feature_types", "names no gene expression", expected=f"'{_GENE_EXPRESSION}'")
    return kept


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

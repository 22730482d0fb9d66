"""What obs and var of an AnnData say of a section, in an .h5ad or in a table of a SpatialData store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.readers.genes import key_space_of

_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl", "feature_id")
_SYMBOL_COLUMNS = ("symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name")
_GENE_EXPRESSION = "Gene Expression"


def bare_barcodes(names: pd.Index, sample: str) -> NDArray[np.object_]:
    """Barcodes without the sample's name in front."""
    bare: pd.Index = names.astype(str).str.removeprefix(f"{sample}_")
    return bare.to_numpy(dtype=object)


def check_spatial(spatial: NDArray[np.float64], barcodes: NDArray[np.object_], path: Path) -> None:
    """Refuse positions that are not finite."""
    faulty = ~np.isfinite(spatial).all(axis=1)
    if faulty.any():
        raise InputDataError(
            f"{path}, obsm['{keys.SPATIAL}']",
            f"{int(faulty.sum())} spots have no finite position (first: {barcodes[faulty.argmax()]})",
            expected="x and y of each spot in full-resolution pixels",
        )


def array_of(obs: pd.DataFrame, path: Path) -> NDArray[np.int32] | None:
    """Array coordinates (n, 2) as (row, col), or None where obs has none."""
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


def on_tissue(obs: pd.DataFrame) -> NDArray[np.intp]:
    """Rows of the spots on the tissue: all, where obs does not say."""
    if keys.IN_TISSUE not in obs.columns:
        return np.arange(len(obs))
    return np.flatnonzero(obs[keys.IN_TISSUE].astype(str).isin(["1", "1.0", "True", "true"]).to_numpy())


def gene_names(var: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
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


def gene_expression(var: pd.DataFrame, path: Path) -> NDArray[np.intp]:
    """Columns that count genes."""
    if "feature_types" not in var.columns:
        return np.arange(len(var))
    kept = np.flatnonzero((var["feature_types"].astype(str) == _GENE_EXPRESSION).to_numpy())
    if len(kept) == 0:
        raise InputDataError(f"{path}, var feature_types", "names no gene expression", expected=f"'{_GENE_EXPRESSION}'")
    return kept

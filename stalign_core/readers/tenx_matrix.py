"""10x Genomics count matrices: .h5 of both layouts, and the matrix market folder of all versions."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.counts import CountTable, make_count_table
from stalign_core.readers.declared_size import refuse_unstored
from stalign_core.readers.faults import reading

_GENE_EXPRESSION = "Gene Expression"
_FEW = 10_000
"""Spots whose row pointers need no thought of memory, whatever the barcodes say."""
_MATRIX_MARKET = "%%MatrixMarket matrix coordinate"


def read_tenx_h5(path: Path) -> CountTable:
    """Read ``filtered_feature_bc_matrix.h5``: the layout of Cell Ranger 3 (group ``matrix``) or of version 2 (one
    group per genome).

    The file is compressed by barcode, so its arrays are the rows of a CSR matrix as they stand.

    Raises
    ------
    InputDataError
        If the file is truncated or altered, holds several genomes or no gene expression, or values that are no counts.
    """
    import h5py
    from scipy.sparse import csr_matrix

    with reading(path, "a 10x count matrix (.h5)"), h5py.File(path, "r") as file:
        refuse_unstored(file)
        group = _matrix_group(file, path)
        barcodes = _texts(group["barcodes"])
        if "features" in group:
            features = group["features"]
            genes, symbols = _texts(features["id"]), _texts(features["name"])
            kinds = _texts(features["feature_type"]) if "feature_type" in features else None
        else:
            genes, symbols, kinds = _texts(group["genes"]), _texts(group["gene_names"]), None
        arrays = group["data"][:], group["indices"][:], group["indptr"][:]
        counts = csr_matrix(arrays, shape=tuple(group["shape"][:][::-1]))
        counts.check_format(full_check=True)
    return _gene_expression(path, counts, barcodes, genes, symbols, kinds)


def read_tenx_mtx(matrix: Path, features: Path, barcodes: Path) -> CountTable:
    """Read a ``filtered_feature_bc_matrix`` folder: ``matrix.mtx``, ``features.tsv`` (or ``genes.tsv`` of version 2)
    and ``barcodes.tsv``, each compressed or not.

    Raises
    ------
    InputDataError
        If a file is truncated or altered, they disagree, or they hold values that are no counts.
    """
    spots = _read_columns(barcodes, 1)[0]
    named = _read_columns(features, 2)
    counts = _read_matrix_market(matrix, len(spots))
    kinds = named[2] if len(named) > 2 else None
    return _gene_expression(matrix, counts, spots, named[0], named[1], kinds)


def count_barcodes(files: tuple[Path, ...]) -> int:
    """Spots of a matrix, without reading its counts: of an .h5 file, or of the (matrix, features, barcodes) files."""
    path = files[-1]
    if len(files) > 1:
        return len(_read_columns(path, 1)[0])
    import h5py

    with reading(path, "a 10x count matrix (.h5)"), h5py.File(path, "r") as file:
        return int(_matrix_group(file, path)["barcodes"].shape[0])


def _matrix_group(file: Any, path: Path) -> Any:
    if "matrix" in file:
        return file["matrix"]
    genomes = [name for name in file if "indptr" in file[name]]
    if len(genomes) == 1:
        return file[genomes[0]]
    problem = f"holds several genomes ({', '.join(genomes)})" if genomes else "holds no count matrix"
    raise InputDataError(str(path), problem, expected="a 10x count matrix (.h5) of one genome")


def _texts(dataset: Any) -> NDArray[np.object_]:
    return np.asarray(dataset.asstr()[:], dtype=object)


def _gene_expression(
    path: Path,
    counts: Any,
    barcodes: NDArray[np.object_],
    genes: NDArray[np.object_],
    symbols: NDArray[np.object_],
    kinds: NDArray[np.object_] | None,
) -> CountTable:
    """The columns that count genes, without those of antibodies, guides and the like."""
    if kinds is not None and len(kinds) == counts.shape[1]:
        keep = np.flatnonzero(kinds == _GENE_EXPRESSION)
        if len(keep) == 0:
            raise InputDataError(
                str(path),
                f"holds no gene expression, only {', '.join(sorted(set(kinds))) or 'an empty feature list'}",
                expected=f"features of type '{_GENE_EXPRESSION}'",
            )
        if len(keep) < len(kinds):
            counts, genes, symbols = counts[:, keep], genes[keep], symbols[keep]
    return make_count_table(str(path), counts, barcodes=barcodes, genes=genes, symbols=symbols)


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _read_columns(path: Path, at_least: int) -> list[NDArray[np.object_]]:
    """The columns of a tab-separated file without header."""
    with reading(path, f"a tab-separated file with {at_least} columns or more"), _open_text(path) as file:
        lines = [line.rstrip("\r\n").split("\t") for line in file]
        width = min((len(line) for line in lines), default=at_least)
        if width < at_least:
            raise ValueError(f"a line has {width} columns")
        return [np.array([line[i] for line in lines], dtype=object) for i in range(width)]


def _read_matrix_market(path: Path, n_barcodes: int) -> Any:
    """The transpose of a matrix market file: CSR (n_spots, n_genes), values as written.

    SciPy's reader cuts fractions off where the header says ``integer``; here they survive to be refused.
    """
    from scipy.sparse import coo_matrix

    with reading(path, "a matrix market file of coordinates"), _open_text(path) as file:
        if not file.readline().startswith(_MATRIX_MARKET):
            raise ValueError(f"no line '{_MATRIX_MARKET}' at its start")
        n_genes, n_spots, n_entries = _matrix_size(file)
        if n_spots > 2 * n_barcodes + _FEW:
            raise ValueError(f"its head promises {n_spots:,} spots, beside {n_barcodes:,} barcodes")
        entries = pd.read_csv(
            file, sep=r"\s+", header=None, names=["gene", "spot", "count"], index_col=False, comment="%"
        )
        if len(entries) != n_entries:
            raise ValueError(f"{len(entries)} entries, where its head promises {n_entries}")
        if any(entries[axis].dtype.kind != "i" for axis in ("gene", "spot")):
            raise ValueError("an entry without its gene or spot")
        gene = entries["gene"].to_numpy(dtype=np.int64) - 1
        spot = entries["spot"].to_numpy(dtype=np.int64) - 1
        counts = coo_matrix((entries["count"].to_numpy(), (spot, gene)), shape=(n_spots, n_genes))
    return counts.tocsr()


def _matrix_size(file: IO[str]) -> tuple[int, int, int]:
    for line in file:
        if not line.startswith("%"):
            n_rows, n_columns, n_entries = (int(number) for number in line.split())
            return n_rows, n_columns, n_entries
    raise ValueError("no line with its size")

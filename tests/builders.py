"""Small inputs on disk, for tests: Space Ranger folders of every version, .h5ad sections, sample sheets."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

MatrixForm = Literal["h5_v3", "h5_v2", "mtx_gz", "mtx", "mtx_genes"]
PositionsForm = Literal["v1", "v2", "parquet"]

SPOT_PITCH = 20.0
"""Distance between the centres of neighbouring spots, in full-resolution pixels."""
SPOT_DIAMETER = 11.0
"""Diameter of a spot in full-resolution pixels: 55 um where the pitch is 100 um."""
PICTURE_SIDE = 600
"""Side of the square lowres picture that `write_picture` makes, in pixels."""
LOWRES_SCALE = 0.5
HIRES_SCALE = 1.0


@dataclass(frozen=True)
class Lattice:
    """Spots of a section: array coordinates (n,) and full-resolution pixel positions (n, 2) as (x, y)."""

    array_row: NDArray[np.int64]
    array_col: NDArray[np.int64]
    spatial: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.array_row)


def hexagonal_lattice(n_rows: int, n_columns: int) -> Lattice:
    """Visium's lattice: odd rows shifted by half a pitch, so array_row + array_col is always even."""
    row, half_column = (grid.ravel() for grid in np.mgrid[:n_rows, :n_columns])
    column = 2 * half_column + row % 2
    x = SPOT_PITCH * (1 + column / 2)
    y = SPOT_PITCH * (1 + row * np.sqrt(3) / 2)
    return Lattice(row, column, np.column_stack([x, y]))


def square_lattice(n_rows: int, n_columns: int) -> Lattice:
    """The lattice of ST arrays and of Visium HD."""
    row, column = (grid.ravel() for grid in np.mgrid[:n_rows, :n_columns])
    return Lattice(row, column, SPOT_PITCH * (1.0 + np.column_stack([column, row])))


def visium_barcodes(n: int) -> list[str]:
    """`n` distinct 16-letter barcodes with the suffix that Space Ranger gives."""
    letters = np.array(list("ACGT"))
    digits = (np.arange(n)[:, None] // 4 ** np.arange(15, -1, -1)) % 4
    return ["".join(row) + "-1" for row in letters[digits]]


def ensembl_ids(n: int, start: int = 0) -> list[str]:
    """`n` human Ensembl gene ids."""
    return [f"ENSG{number:011d}" for number in range(start + 1, start + n + 1)]


def random_counts(n_spots: int, n_genes: int, seed: int = 0) -> NDArray[np.int64]:
    """Sparse-looking Poisson counts, (n_spots, n_genes), no spot empty."""
    counts = np.random.default_rng(seed).poisson(1.0, (n_spots, n_genes))
    counts[:, 0] += 1
    return counts


@dataclass(frozen=True)
class _Names:
    """What names the spots and genes of a count matrix."""

    barcodes: Sequence[str]
    genes: Sequence[str]
    symbols: Sequence[str]
    feature_types: Sequence[str]


def write_spaceranger_section(
    folder: Path,
    counts: NDArray[Any],
    *,
    lattice: Lattice | None = None,
    barcodes: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    feature_types: Sequence[str] | None = None,
    position_barcodes: Sequence[str] | None = None,
    in_tissue: Sequence[int] | None = None,
    matrix: MatrixForm = "h5_v3",
    positions: PositionsForm = "v2",
    pictures: Iterable[Literal["hires", "lowres"]] = ("lowres",),
) -> Path:
    """Write a section as Space Ranger does and return its folder.

    Parameters
    ----------
    folder
        Made if it does not exist.
    counts
        (n_spots, n_genes).
    lattice
        One position per spot; a hexagonal lattice of 10 columns unless given.
    barcodes, genes, symbols, feature_types
        Invented unless given.
    position_barcodes, in_tissue
        Of the positions file, one per spot of the lattice; the counts' barcodes, all on tissue, unless given.
    matrix, positions
        The form of each file, which differs between versions of Space Ranger.
    pictures
        Which of the two pictures to write: white squares that hold every spot.
    """
    n_spots, n_genes = counts.shape
    names = _Names(
        barcodes=visium_barcodes(n_spots) if barcodes is None else barcodes,
        genes=ensembl_ids(n_genes) if genes is None else genes,
        symbols=[f"GENE{i + 1}" for i in range(n_genes)] if symbols is None else symbols,
        feature_types=["Gene Expression"] * n_genes if feature_types is None else feature_types,
    )
    if lattice is None:
        lattice = hexagonal_lattice(-(-n_spots // 10), 10)
        lattice = Lattice(lattice.array_row[:n_spots], lattice.array_col[:n_spots], lattice.spatial[:n_spots])
    (folder / "spatial").mkdir(parents=True, exist_ok=True)
    if matrix.startswith("h5"):
        writer = _write_h5_v3 if matrix == "h5_v3" else _write_h5_v2
        writer(folder / "filtered_feature_bc_matrix.h5", counts, names)
    else:
        _write_mtx(folder / "filtered_feature_bc_matrix", counts, names, matrix)
    _write_positions(
        folder / "spatial",
        list(names.barcodes if position_barcodes is None else position_barcodes),
        [1] * len(lattice) if in_tissue is None else list(in_tissue),
        lattice,
        positions,
    )
    scales = {
        "spot_diameter_fullres": SPOT_DIAMETER,
        "fiducial_diameter_fullres": 1.6 * SPOT_DIAMETER,
        "tissue_hires_scalef": HIRES_SCALE,
        "tissue_lowres_scalef": LOWRES_SCALE,
    }
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    for name in pictures:
        side = PICTURE_SIDE if name == "lowres" else round(PICTURE_SIDE * HIRES_SCALE / LOWRES_SCALE)
        write_picture(folder / "spatial" / f"tissue_{name}_image.png", side, side)
    return folder


def write_h5ad_section(
    path: Path,
    counts: Any,
    *,
    lattice: Lattice | None = None,
    barcodes: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    **parts: Any,
) -> Path:
    """Write a section as .h5ad, on a square lattice unless given; `parts` go to AnnData as they are."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    n_spots, n_genes = counts.shape
    if lattice is None:
        lattice = square_lattice(-(-n_spots // 10), 10)
        lattice = Lattice(lattice.array_row[:n_spots], lattice.array_col[:n_spots], lattice.spatial[:n_spots])
    obs = pd.DataFrame(
        {"array_row": lattice.array_row, "array_col": lattice.array_col},
        index=pd.Index(visium_barcodes(n_spots) if barcodes is None else list(barcodes)),
    )
    var = pd.DataFrame(index=pd.Index(ensembl_ids(n_genes) if genes is None else list(genes)))
    defaults = {"X": csr_matrix(counts), "obs": obs, "var": var, "obsm": {"spatial": lattice.spatial}}
    anndata.AnnData(**{**defaults, **parts}).write_h5ad(path)
    return path


def write_sheet(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a sample sheet whose columns are the keys of the rows, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_annotation(path: Path, labels: dict[str, str]) -> Path:
    """Write an annotation: barcode,label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("barcode", "label"), *labels.items()])
    return path


def write_picture(path: Path, width: int, height: int) -> Path:
    """Write a white picture of the given size."""
    from PIL import Image

    Image.new("RGB", (width, height), "white").save(path)
    return path


def _write_h5_v3(path: Path, counts: NDArray[Any], names: _Names) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _write_compressed(group, counts, names.barcodes)
        features = group.create_group("features")
        features["id"] = _bytes(names.genes)
        features["name"] = _bytes(names.symbols)
        features["feature_type"] = _bytes(names.feature_types)


def _write_h5_v2(path: Path, counts: NDArray[Any], names: _Names) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38")
        _write_compressed(group, counts, names.barcodes)
        group["genes"] = _bytes(names.genes)
        group["gene_names"] = _bytes(names.symbols)


def _write_compressed(group: Any, counts: NDArray[Any], barcodes: Sequence[str]) -> None:
    from scipy.sparse import csr_matrix

    by_spot = csr_matrix(counts)
    group["barcodes"] = _bytes(barcodes)
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(by_spot, name), compression="gzip")
    group["shape"] = np.array(counts.shape[::-1], dtype=np.int32)


def _write_mtx(folder: Path, counts: NDArray[Any], names: _Names, form: MatrixForm) -> None:
    folder.mkdir(exist_ok=True)
    ending = ".gz" if form == "mtx_gz" else ""
    if form == "mtx_genes":
        _write_lines(folder / "genes.tsv", [f"{g}\t{s}" for g, s in zip(names.genes, names.symbols, strict=True)])
    else:
        rows = zip(names.genes, names.symbols, names.feature_types, strict=True)
        _write_lines(folder / f"features.tsv{ending}", ["\t".join(row) for row in rows])
    _write_lines(folder / f"barcodes.tsv{ending}", names.barcodes)
    spot, gene = np.nonzero(counts)
    entries = [f"{g + 1} {s + 1} {counts[s, g]}" for s, g in zip(spot, gene, strict=True)]
    field = "integer" if np.issubdtype(counts.dtype, np.integer) else "real"
    header = [f"%%MatrixMarket matrix coordinate {field} general", "%metadata_json: {}"]
    size = f"{counts.shape[1]} {counts.shape[0]} {len(entries)}"
    _write_lines(folder / f"matrix.mtx{ending}", [*header, size, *entries])


def _write_positions(
    folder: Path, barcodes: Sequence[str], in_tissue: Sequence[int], lattice: Lattice, form: PositionsForm
) -> None:
    import pandas as pd

    table = pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": in_tissue,
            "array_row": lattice.array_row,
            "array_col": lattice.array_col,
            "pxl_row_in_fullres": lattice.spatial[:, 1],
            "pxl_col_in_fullres": lattice.spatial[:, 0],
        }
    )
    if form == "parquet":
        table.to_parquet(folder / "tissue_positions.parquet")
    elif form == "v2":
        table.to_csv(folder / "tissue_positions.csv", index=False)
    else:
        table.to_csv(folder / "tissue_positions_list.csv", index=False, header=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    def write(file: IO[str]) -> None:
        file.writelines(f"{line}\n" for line in lines)

    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            write(file)
    else:
        with path.open("w", encoding="utf-8") as file:
            write(file)


def _bytes(texts: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts], dtype=np.bytes_)

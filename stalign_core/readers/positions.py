"""Where the spots of a Space Ranger folder lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.faults import reading

_COLUMNS = (
    "barcode",
    "in_tissue",
    "array_row",
    "array_col",
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
_EXPECTED = "a tissue positions file with the columns " + ",".join(_COLUMNS)


_LARGEST_CELL: Final = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Positions:
    """Every spot of the array: barcodes (n,), in_tissue (n,), array (n, 2) as (row, col), spatial (n, 2) as (x, y) in
    full-resolution pixels."""

    barcodes: NDArray[np.object_]
    in_tissue: NDArray[np.bool_]
    array: NDArray[np.int32]
    spatial: NDArray[np.float64]


def read_positions(path: Path) -> Positions:
    """Read ``tissue_positions``: Parquet, or CSV with or without a header, which the content tells.

    Raises
    ------
    InputDataError
        If the file is broken, misses a column, or holds a value that cannot be a position.
    """
    with reading(path, _EXPECTED):
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        if table.index.name == "barcode":
            table = table.reset_index()
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing:
        raise InputDataError(str(path), f"misses the columns {', '.join(missing)}", expected=_EXPECTED)
    twice = sorted(set(table.columns[table.columns.duplicated()]).intersection(_COLUMNS))
    if twice:
        raise InputDataError(str(path), f"has the columns {', '.join(twice)} more than once", expected=_EXPECTED)
    barcodes = table["barcode"].astype(str).to_numpy(dtype=object)
    repeated = pd.Index(barcodes).duplicated()
    if repeated.any():
        raise InputDataError(
            str(path),
            f"has {int(repeated.sum())} barcodes more than once (first: {barcodes[repeated.argmax()]})",
            expected="one row per spot",
        )
    numbers = np.column_stack([_numbers(table, column, path) for column in _COLUMNS[1:]])
    return Positions(
        barcodes=barcodes,
        in_tissue=numbers[:, 0] > 0,
        array=numbers[:, 1:3].astype(np.int32),
        spatial=np.ascontiguousarray(numbers[:, [4, 3]]),
    )


def _read_csv(path: Path) -> pd.DataFrame:
    # Everything as text: whether the first row is a header shows only in its second cell.
    table = pd.read_csv(path, header=None, dtype=str, encoding="utf-8-sig", skip_blank_lines=True)
    if table.shape[1] < len(_COLUMNS):
        raise ValueError(f"{table.shape[1]} columns")
    if _is_number(table.iat[0, 1]):
        return table.iloc[:, : len(_COLUMNS)].set_axis(list(_COLUMNS), axis=1)
    header = [str(name).strip() for name in table.iloc[0]]
    return table.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


def _numbers(table: pd.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    faulty = ~np.isfinite(numbers)
    if column.startswith("array_"):
        faulty |= (numbers != np.rint(numbers)) | (np.abs(numbers) > _LARGEST_CELL)
    if faulty.any():
        row = int(faulty.argmax())
        raise InputDataError(
            f"{path}, {column}",
            f"{int(faulty.sum())} values are no {'integers' if column.startswith('array_') else 'numbers'} "
            f"(first: '{table[column].iloc[row]}' of barcode {table['barcode'].iloc[row]})",
            expected=_EXPECTED,
        )
    return numbers

"""Labels that an expert gave to spots: a CSV with the columns barcode,label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.readers.barcodes import match_barcodes
from stalign_core.readers.csv_table import read_csv_table

UNLABELLED = frozenset({"", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL"})
"""What an annotation writes where a spot has no label."""


def read_annotation(
    path: Path, barcodes: NDArray[np.object_], known_barcodes: NDArray[np.object_], sample: str
) -> pd.Categorical:
    """Read the labels of the spots `barcodes`.

    Parameters
    ----------
    barcodes
        (n_spots,) spots of the section.
    known_barcodes
        Every barcode of the input. Labels of spots that were left out, such as those off the tissue, are ignored.

    Returns
    -------
    (n_spots,) labels, missing where the annotation has none.

    Raises
    ------
    InputDataError
        If the file is no such table, names a spot twice, or names barcodes that the sample does not have.
    """
    rows = read_csv_table(path, (keys.BARCODE, keys.LABEL), InputDataError).rows
    named = np.array([row.cells[keys.BARCODE] for row in rows], dtype=object)
    repeated = pd.Index(named).duplicated()
    if repeated.any():
        first = int(repeated.argmax())
        raise InputDataError(
            f"{path}, row {rows[first].line}, {keys.BARCODE}",
            f"'{named[first]}' stands twice ({int(repeated.sum())} repeated barcodes in all)",
            expected="one row per spot",
        )
    unknown = match_barcodes(named, known_barcodes, sample) < 0
    if unknown.any():
        first = int(unknown.argmax())
        raise InputDataError(
            f"{path}, row {rows[first].line}, {keys.BARCODE}",
            f"{int(unknown.sum())} of {len(named)} barcodes are not in sample {sample} (first: '{named[first]}')",
            expected=f"barcodes like '{known_barcodes[0]}'",
            remedy="check that the annotation is this sample's",
        )
    labels = np.array([row.cells[keys.LABEL] for row in rows], dtype=object)
    labels[[label in UNLABELLED for label in labels]] = None
    row_of = match_barcodes(barcodes, named, sample)
    found = labels[row_of]
    found[row_of < 0] = None
    return pd.Categorical(found)

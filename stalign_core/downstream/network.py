"""A table of pathways and their genes, read from a local file: nothing is ever fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import DownstreamError
from stalign_core.readers.csv_table import read_csv_table
from stalign_core.readers.genes import canonical_keys, key_space_of

SOURCE: Final = "source"
TARGET: Final = "target"
WEIGHT: Final = "weight"


def read_network(path: Path) -> pd.DataFrame:
    """Read a network: a CSV with the columns source, target and, if it likes, weight (1 where it is not given).

    Further columns are left out, so that a table saved from decoupler serves as it is.

    Returns
    -------
    Columns source, target, weight (float64), one row per pair, as the file has them.

    Raises
    ------
    DownstreamError
        Naming the file and the row: no file, no CSV, a missing column, an empty name, a weight that is no number other
        than 0, or a pair that stands twice.
    """
    rows = []
    seen: dict[tuple[str, str], int] = {}
    for row in read_csv_table(path, (SOURCE, TARGET), DownstreamError).rows:
        source, target = row.cells[SOURCE], row.cells[TARGET]
        where = f"{path}, row {row.line}"
        if not source or not target:
            raise DownstreamError(f"{where}, {TARGET if source else SOURCE}", "is empty", expected="a name")
        if (source, target) in seen:
            raise DownstreamError(
                where,
                f"repeats {source} and {target} of row {seen[source, target]}",
                expected="each pair of source and target once",
                remedy="remove one of the two rows",
            )
        seen[source, target] = row.line
        rows.append((source, target, _weight(row.cells.get(WEIGHT, ""), where)))
    return pd.DataFrame(rows, columns=[SOURCE, TARGET, WEIGHT])


def on_gene_keys(network: pd.DataFrame, genes: NDArray[np.object_], symbols: NDArray[np.object_]) -> pd.DataFrame:
    """The network with its targets named by the cohort's gene keys; targets that the cohort lacks are left out.

    Targets may be Ensembl ids or symbols; a symbol that several genes share means the first of them.

    Parameters
    ----------
    network
        From `read_network`.
    genes, symbols
        (n_genes,) of the cohort.
    """
    targets = network[TARGET].to_numpy(dtype=object)
    if key_space_of(targets) == "ensembl" or key_space_of(genes) == "symbol":
        mapped = pd.Series(canonical_keys(targets), index=network.index)
        mapped = mapped.where(mapped.isin(set(genes)))
    else:
        key_of = pd.Series(genes, index=symbols)
        mapped = network[TARGET].map(key_of[~key_of.index.duplicated()])
    found = network.assign(**{TARGET: mapped})[mapped.notna()]
    return found.drop_duplicates([SOURCE, TARGET]).reset_index(drop=True)


def _weight(cell: str, where: str) -> float:
    if not cell:
        return 1.0
    try:
        weight = float(cell)
    except ValueError:
        weight = float("nan")
    if not np.isfinite(weight) or weight == 0:
        raise DownstreamError(f"{where}, {WEIGHT}", f"is '{cell}'", expected="a number other than 0")
    return weight

"""Counts of many sections over one panel as one sparse matrix that stays in files.

A training reads a few hundred random rows at a time. The matrix is mapped into memory, so the system reads the pages
that are asked for, and may drop them again whenever memory is short: nothing of it counts as held.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

VALUES, COLUMNS = "values.float32", "columns.int32"


class CountsOnDisk:
    """Writes sections one after the other; use as a context, then `opened`.

    Parameters
    ----------
    folder
        Made where it is not there; earlier files of this kind in it are replaced.
    n_genes
        Genes of the panel.
    """

    def __init__(self, folder: Path, n_genes: int) -> None:
        self._folder = folder
        self._n_genes = n_genes
        self._row_ends: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: (self._folder / name).open("wb") for name in (VALUES, COLUMNS)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add_section(self, counts: csr_matrix) -> None:
        """Append the panel's counts of one section, (n_spots, n_genes)."""
        if counts.shape[1] != self._n_genes:
            raise ValueError(f"got {counts.shape[1]} genes instead of {self._n_genes}")
        rows = counts.tocsr()
        self._files[VALUES].write(np.ascontiguousarray(rows.data, dtype=np.float32).data)
        self._files[COLUMNS].write(np.ascontiguousarray(rows.indices, dtype=np.int32).data)
        self._row_ends.append(self._row_ends[-1][-1] + rows.indptr[1:].astype(np.int64))

    def opened(self) -> csr_matrix:
        """All rows, in the order they were added; float32, its values and columns mapped from the files."""
        from scipy.sparse import csr_matrix

        ends = np.concatenate(self._row_ends)
        shape = (len(ends) - 1, self._n_genes)
        if not ends[-1]:  # An empty file cannot be mapped.
            return csr_matrix(shape, dtype=np.float32)
        matrix = csr_matrix(shape, dtype=np.float32)
        # Set one by one: the constructor would copy the columns into the type of the row ends.
        matrix.data = np.memmap(self._folder / VALUES, np.float32, "r")
        matrix.indices = np.memmap(self._folder / COLUMNS, np.int32, "r")
        matrix.indptr = ends if ends[-1] > np.iinfo(np.int32).max else ends.astype(np.int32)
        return matrix


def without_empty_rows(counts: csr_matrix) -> csr_matrix:
    """The rows that hold an entry, sharing all entries with `counts`: a row without any leaves but its end."""
    from scipy.sparse import csr_matrix

    kept = np.flatnonzero(np.diff(counts.indptr))
    matrix = csr_matrix((len(kept), counts.shape[1]), dtype=counts.dtype)
    matrix.data, matrix.indices = counts.data, counts.indices
    matrix.indptr = counts.indptr[np.concatenate([[0], kept + 1])]
    return matrix

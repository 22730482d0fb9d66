"""scVI learns from counts that stay in files, and learns the same."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from stalign_core.correction.counts_on_disk import CountsOnDisk, without_empty_rows
from stalign_core.correction.scvi import fit_scvi
from stalign_core.settings import CorrectionSettings, ScviSettings

from .cohorts import batch_counts

SETTINGS = CorrectionSettings(scvi=ScviSettings(max_epochs=2, n_hidden=16, batch_size=64))


def on_disk(folder: Path, *sections: csr_matrix) -> csr_matrix:
    with CountsOnDisk(folder, sections[0].shape[1]) as counts:
        for section in sections:
            counts.add_section(section)
    return counts.opened()


def test_rows_are_those_of_the_sections_one_below_the_other(tmp_path: Path) -> None:
    counts, _ = batch_counts()
    sections = (counts[:100], counts[100:101], counts[101:])
    opened = on_disk(tmp_path, *sections)
    assert (opened != vstack(sections)).nnz == 0
    assert isinstance(opened.data, np.memmap)
    assert isinstance(opened.indices, np.memmap)
    assert (opened[[250, 3, 100]] != counts[[250, 3, 100]]).nnz == 0


def test_sections_without_a_single_count_have_their_rows(tmp_path: Path) -> None:
    empty = csr_matrix((3, 5), dtype=np.int32)
    assert on_disk(tmp_path, empty, empty).shape == (6, 5)


def test_a_section_of_another_panel_is_refused(tmp_path: Path) -> None:
    with CountsOnDisk(tmp_path, 4) as counts, pytest.raises(ValueError, match="got 5 genes instead of 4"):
        counts.add_section(csr_matrix((3, 5)))


def test_rows_without_an_entry_are_dropped_and_nothing_is_copied() -> None:
    dense = np.array([[0, 0], [1, 2], [0, 0], [0, 3], [0, 0]])
    counts = csr_matrix(dense)
    kept = without_empty_rows(counts)
    assert kept.toarray().tolist() == [[1, 2], [0, 3]]
    assert np.shares_memory(kept.data, counts.data)


def test_scvi_gives_the_same_bytes_from_files_as_from_memory(tmp_path: Path) -> None:
    counts, batches = batch_counts()
    dense = counts.toarray()
    dense[[0, 10, 299]] = 0
    counts = csr_matrix(dense)
    opened = on_disk(tmp_path, counts[:150], counts[150:])
    from_memory, from_files = (fit_scvi(each, batches, SETTINGS, 4, 0, device="cpu") for each in (counts, opened))
    np.testing.assert_array_equal(from_memory.features, from_files.features)
    assert from_files.facts["n_spots_trained"] == 297


def test_scvi_holds_a_small_part_of_the_counts_at_a_time(tmp_path: Path) -> None:
    import scvi  # noqa: F401  # loading it takes more memory than these counts

    counts = csr_matrix(np.random.default_rng(0).poisson(2, (16_000, 600)).astype(np.int32))
    batches = np.repeat(["one", "two"], 8_000)
    opened = on_disk(tmp_path, counts)
    settings = CorrectionSettings(scvi=ScviSettings(max_epochs=1, n_hidden=8, batch_size=512))
    n_bytes = opened.data.nbytes + opened.indices.nbytes
    tracemalloc.start()
    try:
        fit_scvi(opened, batches, settings, 4, 0, device="cpu")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_bytes > 64e6
    assert peak < n_bytes / 2

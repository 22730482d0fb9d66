"""A cohort as one AnnData: joined on shared genes, with losses said."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata
import numpy as np
import pytest

from stalign_core.errors import InputDataError
from stalign_core.readers import read_cohort
from tests.broken_hdf5 import write_deadly
from tests.builders import (
    LOWRES_SCALE,
    SPOT_DIAMETER,
    ensembl_ids,
    random_counts,
    visium_barcodes,
    write_annotation,
    write_h5ad_section,
    write_sheet,
    write_spaceranger_section,
)

FIRST, SECOND = random_counts(10, 6, seed=1), random_counts(8, 5, seed=2)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """Two samples of two donors that share genes 3 to 6, in opposite order."""
    write_spaceranger_section(tmp_path / "a", FIRST)
    write_annotation(tmp_path / "labels.csv", {visium_barcodes(1)[0]: "L1"})
    write_spaceranger_section(tmp_path / "b", SECOND, genes=ensembl_ids(5, start=2)[::-1], pictures=())
    rows = [
        {"sample": "a1", "donor": "dA", "path": "a", "annotation": "labels.csv"},
        {"sample": "b1", "donor": "dB", "path": "b"},
    ]
    return write_sheet(tmp_path / "samples.csv", rows)


def test_samples_are_joined_on_their_shared_genes(sheet: Path) -> None:
    joined = read_cohort(sheet)
    assert joined.shape == (18, 4)
    assert joined.var_names.tolist() == ensembl_ids(6)[2:]
    assert joined.var["symbol"].tolist() == ["GENE3", "GENE4", "GENE5", "GENE6"]
    np.testing.assert_array_equal(joined.X[:10].toarray(), FIRST[:, 2:])
    np.testing.assert_array_equal(joined.X[10:].toarray(), SECOND[:, ::-1][:, :4])
    assert joined.X.dtype == np.int32
    assert joined.X.has_canonical_format
    assert joined.obs_names[0] == f"a1_{visium_barcodes(1)[0]}"
    assert joined.obs["sample"].tolist() == ["a1"] * 10 + ["b1"] * 8
    assert joined.obs["donor"].tolist() == ["dA"] * 10 + ["dB"] * 8
    assert joined.obs["label"].dropna().to_dict() == {f"a1_{visium_barcodes(1)[0]}": "L1"}


def test_lost_genes_are_logged_and_recorded_per_sample(sheet: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        joined = read_cohort(sheet)
    assert joined.uns["stalign"]["genes_lost"] == {"a1": 2, "b1": 1}
    assert "sample a1: 2 of its 6 genes are not in every sample and are left out" in caplog.messages
    assert "sample b1: 1 of its 5 genes are not in every sample and are left out" in caplog.messages
    assert "sample b1: there is no image: morphology is missing for every spot" in caplog.messages


def test_pictures_stand_where_scanpys_plots_look(sheet: Path) -> None:
    spatial = read_cohort(sheet).uns["spatial"]
    assert spatial["a1"]["images"]["lowres"].shape == (600, 600, 3)
    assert spatial["a1"]["scalefactors"] == {
        "spot_diameter_fullres": SPOT_DIAMETER,
        "tissue_lowres_scalef": LOWRES_SCALE,
    }
    assert spatial["b1"]["images"] == {}


def test_a_cohort_survives_being_stored(sheet: Path, tmp_path: Path) -> None:
    joined = read_cohort(sheet)
    joined.write_h5ad(tmp_path / "cohort.h5ad")
    stored = anndata.read_h5ad(tmp_path / "cohort.h5ad")
    np.testing.assert_array_equal(stored.X.toarray(), joined.X.toarray())
    assert stored.uns["stalign"]["samples"]["a1"]["lattice"] == "hexagonal"


def test_a_sample_without_lattice_gets_minus_one(tmp_path: Path) -> None:
    write_spaceranger_section(tmp_path / "a", FIRST)
    path = write_h5ad_section(tmp_path / "b.h5ad", FIRST)
    section = anndata.read_h5ad(path)
    del section.obs["array_row"]
    section.write_h5ad(path)
    rows = [{"sample": "a", "donor": "d", "path": "a"}, {"sample": "b", "donor": "d", "path": "b.h5ad"}]
    array = read_cohort(write_sheet(tmp_path / "samples.csv", rows)).obs[["array_row", "array_col"]]
    assert (array.iloc[10:] == -1).all(axis=None)
    assert (array.iloc[:10] >= 0).all(axis=None)
    assert (array.dtypes == np.int32).all()


def test_progress_names_each_sample(sheet: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    read_cohort(sheet, progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen == [("read a1", 0, 2), ("read b1", 1, 2), ("read samples", 2, 2)]


def test_mixed_key_spaces_and_no_shared_gene_are_refused(tmp_path: Path) -> None:
    write_spaceranger_section(tmp_path / "a", FIRST)
    write_h5ad_section(tmp_path / "b.h5ad", FIRST, genes=[f"GENE{i}" for i in range(6)])
    write_spaceranger_section(tmp_path / "c", FIRST, genes=ensembl_ids(6, start=100))
    for other, message in (("b.h5ad", "mixes gene keys"), ("c", "the samples share no gene")):
        rows = [{"sample": "a", "donor": "d", "path": "a"}, {"sample": "b", "donor": "d", "path": other}]
        with pytest.raises(InputDataError, match=message):
            read_cohort(write_sheet(tmp_path / "samples.csv", rows))


def test_a_file_that_would_end_the_process_is_named_instead(sheet: Path, tmp_path: Path) -> None:
    deadly = write_deadly(tmp_path / "b" / "filtered_feature_bc_matrix.h5")
    with pytest.raises(InputDataError, match="ends the process that reads it") as error:
        read_cohort(sheet)
    assert error.value.where == str(deadly)

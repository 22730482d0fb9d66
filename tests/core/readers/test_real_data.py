"""The readers on public data sets; expected numbers come from scanpy, anndata and plain CSV reading."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stalign_core.cohort import Sample, read_sample_sheet
from stalign_core.readers import SampleFacts, read_cohort, read_sample

pytestmark = pytest.mark.real_data

RealData = Callable[[str], Path]


def facts_of(section: Any) -> SampleFacts:
    return SampleFacts.from_dict(section.uns["stalign"])


def read_tenx(path: Path) -> Any:
    import scanpy

    matrix = scanpy.read_10x_h5(path)
    matrix.var_names = matrix.var["gene_ids"]
    return matrix


def test_dlpfc_sections_equal_scanpys_and_join_on_3837_genes(real_data: RealData) -> None:
    folder = real_data("dlpfc_br8100")
    joined = read_cohort(folder / "samples.csv")
    assert joined.shape == (14364, 3837)
    assert joined.uns["stalign"]["genes_lost"] == {"151673": 3482, "151674": 1163, "151675": 3482, "151676": 3482}
    for sample in read_sample_sheet(folder / "samples.csv").samples:
        section = read_sample(sample)
        expected = read_tenx(sample.path / "filtered_feature_bc_matrix.h5")
        assert section.obs_names.tolist() == expected.obs_names.tolist()
        assert section.var_names.tolist() == expected.var_names.tolist()
        assert (section.X != expected.X).nnz == 0
        assert facts_of(section).lattice == "hexagonal"
        assert facts_of(section).image_kind == "lowres"
        mine = joined[joined.obs["sample"] == sample.sample]
        assert (mine.X != expected[:, joined.var_names].X).nnz == 0


def test_dlpfc_positions_and_labels_are_those_of_the_files(real_data: RealData) -> None:
    sample = read_sample_sheet(real_data("dlpfc_br8100") / "samples.csv").samples[0]
    section = read_sample(sample)
    with (sample.path / "spatial" / "tissue_positions_list.csv").open() as file:
        position = {row[0]: [float(cell) for cell in row[1:]] for row in csv.reader(file)}
    expected = np.array([position[barcode] for barcode in section.obs_names])
    assert (expected[:, 0] == 1).all()
    np.testing.assert_array_equal(section.obs[["array_row", "array_col"]], expected[:, 1:3])
    np.testing.assert_array_equal(section.obsm["spatial"], expected[:, [4, 3]])
    assert sample.annotation is not None
    with sample.annotation.open() as file:
        labels = {row["barcode"]: row["label"] for row in csv.DictReader(file)}
    assert section.obs["label"].dropna().to_dict() == labels


def test_placenta_h5_and_mtx_give_identical_counts(real_data: RealData, tmp_path: Path) -> None:
    folder = real_data("visium_placenta")
    from_h5 = read_sample(Sample("placenta", "mouse", folder))
    for name in ("filtered_feature_bc_matrix", "spatial"):
        shutil.copytree(folder / name, tmp_path / name)
    from_mtx = read_sample(Sample("placenta", "mouse", tmp_path))
    assert from_h5.shape == (2898, 19465)
    assert int(from_h5.X.sum()) == int(read_tenx(folder / "filtered_feature_bc_matrix.h5").X.sum())
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(from_h5.X, part), getattr(from_mtx.X, part))
    assert from_h5.obs.equals(from_mtx.obs)
    assert from_h5.var.equals(from_mtx.var)
    np.testing.assert_array_equal(from_h5.obsm["spatial"], from_mtx.obsm["spatial"])
    assert any(path.endswith("matrix.mtx.gz") for path in facts_of(from_mtx).sources)


def test_her2st_sections_equal_anndatas_and_three_have_an_image(real_data: RealData) -> None:
    import anndata

    samples = read_sample_sheet(real_data("her2st_abcd") / "samples.csv").samples
    kinds = {}
    for sample in samples:
        section, expected = read_sample(sample), anndata.read_h5ad(sample.path)
        assert (section.X != expected.X).nnz == 0
        assert section.var_names.tolist() == expected.var_names.tolist()
        np.testing.assert_array_equal(section.obsm["spatial"], expected.obsm["spatial"])
        np.testing.assert_array_equal(section.obs[["array_row", "array_col"]], expected.obs[["array_row", "array_col"]])
        facts = facts_of(section)
        assert (facts.lattice, facts.key_space) == ("square", "symbol")
        held = expected.uns["spatial"][sample.sample]["scalefactors"]["spot_diameter_fullres"]
        assert facts.spot_diameter == held
        kinds[sample.sample] = facts.image_kind
        assert section.obs["label"].notna().any() == (sample.annotation is not None)
    assert {name for name, kind in kinds.items() if kind == "full"} == {"A1", "B4", "C2"}
    assert sum(kind == "none" for kind in kinds.values()) == 21


def test_the_tiny_version_1_section_is_read(real_data: RealData) -> None:
    folder = real_data("visium_tiny_v1")
    section = read_sample(Sample("tiny", "donor", folder))
    expected = read_tenx(folder / "filtered_feature_bc_matrix.h5")
    assert (section.X != expected.X).nnz == 0
    assert section.shape == (100, 100)
    facts = facts_of(section)
    assert (facts.image_kind, facts.image_scale) == ("hires", 0.150015)
    assert any("gets 13.4 pixels" in line for line in facts.warnings)

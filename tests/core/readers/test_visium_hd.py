"""Visium HD runs: which bins are read, and that they lie on a full square lattice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stalign_core as st
from stalign_core.cohort import Sample
from stalign_core.errors import InputDataError
from stalign_core.grid import pack_lattice
from stalign_core.readers import SampleFacts, read_sample, source_files, spaceranger
from tests.builders import ensembl_ids, random_counts, write_sheet, write_spaceranger_section
from tests.core.readers.quick import QUICK
from tests.core.readers.visium_hd import bin_barcodes, bin_lattice, write_bins

LARGE, SMALL = bin_lattice(3, 4, 16), bin_lattice(6, 8, 8)
LARGE_COUNTS, SMALL_COUNTS = random_counts(12, 7), random_counts(48, 7, seed=1)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A run with bins of 8 and 16 um."""
    write_bins(tmp_path / "outs", 16, LARGE, LARGE_COUNTS)
    write_bins(tmp_path / "outs", 8, SMALL, SMALL_COUNTS)
    # As in a real run, whose own spatial folder holds pictures alone.
    (tmp_path / "outs" / "spatial").mkdir()
    return tmp_path / "outs"


def sample_at(path: Path, bin_size: str = "") -> Sample:
    return Sample("s1", "d1", path, bin=bin_size)


def facts_of(sample: Sample) -> SampleFacts:
    return SampleFacts.from_dict(read_sample(sample).uns["stalign"])


def test_bins_of_sixteen_micrometres_are_read_unless_others_are_named(outputs: Path) -> None:
    section = read_sample(sample_at(outputs))
    np.testing.assert_array_equal(section.X.toarray(), LARGE_COUNTS)
    assert section.obs_names[5] == "s_016um_00001_00001-1"
    np.testing.assert_allclose(section.obsm["spatial"], LARGE.spatial)
    facts = facts_of(sample_at(outputs))
    assert (facts.lattice, facts.spot_diameter, facts.key_space) == ("square", 32.0, "ensembl")


@pytest.mark.parametrize("name", ["008um", "8", "8um", "square_008um"])
def test_other_bins_are_read_where_they_are_named(outputs: Path, name: str) -> None:
    section = read_sample(sample_at(outputs, name))
    np.testing.assert_array_equal(section.X.toarray(), SMALL_COUNTS)
    assert SampleFacts.from_dict(section.uns["stalign"]).spot_diameter == 16.0


def test_a_folder_of_bins_and_the_one_above_the_outputs_are_read_too(outputs: Path) -> None:
    folder = outputs / "binned_outputs" / "square_008um"
    for sample in (sample_at(folder), sample_at(folder, "008um"), sample_at(outputs.parent, "008um")):
        np.testing.assert_array_equal(read_sample(sample).X.toarray(), SMALL_COUNTS)
    with pytest.raises(InputDataError, match="holds other bins than square_016um"):
        read_sample(sample_at(folder, "016um"))


def test_only_files_of_the_bins_that_are_read_are_sources(outputs: Path) -> None:
    folder = outputs / "binned_outputs" / "square_008um"
    sources = source_files(sample_at(outputs, "8"))
    assert {path.relative_to(folder).as_posix() for path in sources} == {
        "filtered_feature_bc_matrix.h5",
        "spatial/tissue_positions.parquet",
        "spatial/scalefactors_json.json",
        "spatial/tissue_lowres_image.png",
    }


@pytest.mark.parametrize("matrix", ["h5_v3", "mtx_gz"])
def test_bins_off_the_tissue_are_left_out_and_counts_may_leave_them_out(tmp_path: Path, matrix: Any) -> None:
    # The positions list the whole array; the filtered matrix holds bins under the tissue alone.
    inside = np.array([1, 1, 0, 0] * 3)
    whole = bin_barcodes(LARGE, 16)
    write_bins(
        tmp_path,
        16,
        LARGE,
        LARGE_COUNTS[inside == 1],
        barcodes=[name for name, kept in zip(whole, inside, strict=True) if kept],
        position_barcodes=whole,
        in_tissue=inside,
        matrix=matrix,
    )
    section = read_sample(sample_at(tmp_path))
    np.testing.assert_array_equal(section.X.toarray(), LARGE_COUNTS[inside == 1])
    np.testing.assert_array_equal(section.obs["array_col"], [0, 1] * 3)
    np.testing.assert_allclose(section.obsm["spatial"], LARGE.spatial[inside == 1])
    assert facts_of(sample_at(tmp_path)).n_spots_off_tissue == 6


def test_bins_of_one_parity_still_lie_on_a_square_lattice(tmp_path: Path) -> None:
    even = (LARGE.array_row + LARGE.array_col) % 2 == 0
    write_bins(tmp_path, 16, LARGE, LARGE_COUNTS, in_tissue=even.astype(int))
    section = read_sample(sample_at(tmp_path))
    assert facts_of(sample_at(tmp_path)).lattice == "square"
    packed = pack_lattice(section.obs["array_row"], section.obs["array_col"], "square")
    np.testing.assert_array_equal(packed, np.column_stack([LARGE.array_row, LARGE.array_col])[even])


def test_the_runs_pictures_serve_bins_without_their_own(outputs: Path) -> None:
    own = outputs / "binned_outputs" / "square_016um" / "spatial" / "tissue_lowres_image.png"
    shared = own.rename(outputs / "spatial" / own.name)
    for path in (outputs, outputs / "binned_outputs" / "square_016um"):
        facts = facts_of(sample_at(path))
        assert (facts.image, facts.image_kind, facts.image_scale) == (str(shared), "lowres", 0.5)


def test_a_diameter_that_is_not_given_follows_from_the_size_of_a_bin(outputs: Path) -> None:
    path = outputs / "binned_outputs" / "square_016um" / "spatial" / "scalefactors_json.json"
    factors = json.loads(path.read_text())
    del factors["spot_diameter_fullres"]
    path.write_text(json.dumps(factors))
    assert facts_of(sample_at(outputs)).spot_diameter == 32.0


def test_more_bins_than_a_sample_may_have_are_refused_with_their_count(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaceranger, "MAX_SPOTS", 40)
    assert read_sample(sample_at(outputs)).n_obs == 12
    with pytest.raises(InputDataError, match=r"holds 48 bins or spots; expected at most 40.*column bin"):
        read_sample(sample_at(outputs, "008um"))


def test_a_visium_hd_cohort_is_integrated(tmp_path: Path) -> None:
    lattice = bin_lattice(12, 12, 16)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        rates = np.where((lattice.array_col < 6)[:, None], [6.0] * 30 + [1.0] * 30, [1.0] * 30 + [6.0] * 30)
        write_bins(tmp_path / name, 16, lattice, rng.poisson(rates), genes=ensembl_ids(60))
    sheet = write_sheet(
        tmp_path / "samples.csv",
        [{"sample": name, "donor": name, "path": name, "bin": "016um"} for name in ("a", "b")],
    )
    adata = st.read_cohort(sheet)
    st.integrate(adata, n_domains=2, method="harmony", settings=QUICK)
    left = adata.obs["array_col"] < 6
    share = (
        adata.obs["domain"].groupby(left, observed=True).agg(lambda domains: domains.value_counts(normalize=True).max())
    )
    assert (share > 0.9).all()
    assert adata.obs["domain"][left].mode()[0] != adata.obs["domain"][~left].mode()[0]


def test_a_plain_space_ranger_folder_is_read_as_before(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path, random_counts(12, 7))
    assert facts_of(sample_at(folder)).lattice == "hexagonal"

"""Sections kept as .h5ad, and embeddings computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from stalign_core.cohort import Sample
from stalign_core.errors import InputDataError
from stalign_core.readers import SampleFacts, read_external_representation, read_sample, source_files
from stalign_core.settings import RepresentationSettings
from tests.builders import (
    SPOT_PITCH,
    ensembl_ids,
    hexagonal_lattice,
    random_counts,
    square_lattice,
    visium_barcodes,
    write_h5ad_section,
    write_picture,
    write_spaceranger_section,
)

COUNTS = random_counts(12, 7)
BARCODES = visium_barcodes(12)
LATTICE = square_lattice(3, 4)


def sample_at(path: Path, **more: Any) -> Sample:
    return Sample("s1", "d1", path, sheet=path.parent / "samples.csv", **more)


def obs(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(BARCODES))


def facts_of(path: Path) -> SampleFacts:
    return SampleFacts.from_dict(read_sample(sample_at(path)).uns["stalign"])


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix, np.asarray])
@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_counts_of_any_form_are_read(tmp_path: Path, form: Any, kind: Any) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, lattice=LATTICE, X=form(COUNTS.astype(kind)))
    section = read_sample(sample_at(path))
    assert section.X.dtype == np.int32
    np.testing.assert_array_equal(section.X.toarray(), COUNTS)
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial)
    np.testing.assert_array_equal(section.obs["array_row"], LATTICE.array_row)
    assert section.obs_names.tolist() == BARCODES


def test_the_counts_layer_goes_before_x(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, X=np.log1p(COUNTS), layers={"counts": csr_matrix(COUNTS)})
    np.testing.assert_array_equal(read_sample(sample_at(path)).X.toarray(), COUNTS)


def test_normalised_values_are_refused_with_the_place_for_counts(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, X=np.log1p(COUNTS))
    with pytest.raises(InputDataError, match=r"are not integers.*layers\['counts'\]") as caught:
        read_sample(sample_at(path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize("column", ["gene_ids", "ensembl", "ENSEMBL_ID"])
def test_an_ensembl_column_keys_the_genes_and_names_become_symbols(tmp_path: Path, column: str) -> None:
    names = [f"GENE{i}" for i in range(7)]
    var = pd.DataFrame({column: ensembl_ids(7)}, index=pd.Index(names))
    section = read_sample(sample_at(write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, var=var)))
    assert section.var_names.tolist() == ensembl_ids(7)
    assert section.var["symbol"].tolist() == names


def test_symbols_key_the_genes_where_there_are_no_ids(tmp_path: Path) -> None:
    names = [f"GENE{i}" for i in range(7)]
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, genes=names)
    section = read_sample(sample_at(path))
    assert section.var_names.tolist() == section.var["symbol"].tolist() == names
    assert facts_of(path).key_space == "symbol"


def test_only_gene_expression_and_only_spots_on_the_tissue_are_kept(tmp_path: Path) -> None:
    var = pd.DataFrame(
        {"feature_types": ["Gene Expression"] * 5 + ["Antibody Capture"] * 2}, index=pd.Index(ensembl_ids(7))
    )
    for flags in ([1, 0] * 6, [True, False] * 6, ["1", "0"] * 6):
        path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, var=var, obs=obs(in_tissue=flags))
        section = read_sample(sample_at(path))
        np.testing.assert_array_equal(section.X.toarray(), COUNTS[::2, :5])
        assert section.obs_names.tolist() == BARCODES[::2]


def test_the_samples_name_in_front_of_a_barcode_is_dropped(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, barcodes=[f"s1_{barcode}" for barcode in BARCODES])
    assert read_sample(sample_at(path)).obs_names.tolist() == BARCODES


def test_positions_are_found_in_obs_and_missing_ones_refused(tmp_path: Path) -> None:
    columns = {"pxl_col_in_fullres": LATTICE.spatial[:, 0], "pxl_row_in_fullres": LATTICE.spatial[:, 1]}
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, obs=obs(**columns), obsm={})
    section = read_sample(sample_at(path))
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial)
    assert "array_row" not in section.obs
    assert facts_of(path).lattice == "irregular"
    with pytest.raises(InputDataError, match="holds no spot positions"):
        read_sample(sample_at(write_h5ad_section(tmp_path / "none.h5ad", COUNTS, obsm={})))


def test_positions_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    spatial = LATTICE.spatial.copy()
    spatial[3, 1] = np.nan
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, obsm={"spatial": spatial})
    with pytest.raises(InputDataError, match=rf"1 spots have no finite position \(first: {BARCODES[3]}\)"):
        read_sample(sample_at(path))


def test_array_coordinates_must_be_integers_and_no_place_may_hold_two_spots(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "half.h5ad", COUNTS, obs=obs(array_row=0.5, array_col=1))
    with pytest.raises(InputDataError, match="array_row and array_col: hold values that are no integers"):
        read_sample(sample_at(path))
    path = write_h5ad_section(tmp_path / "twice.h5ad", COUNTS, obs=obs(array_row=[0, *range(11)], array_col=1))
    facts = facts_of(path)
    assert facts.lattice == "irregular"
    assert any("two spots share one array_row and array_col" in line for line in facts.warnings)


def test_the_spot_diameter_is_read_or_estimated_from_the_pitch(tmp_path: Path) -> None:
    given = {"spatial": {"s1": {"scalefactors": {"spot_diameter_fullres": 7.5}}}}
    assert facts_of(write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, uns=given)).spot_diameter == 7.5
    square = facts_of(write_h5ad_section(tmp_path / "square.h5ad", COUNTS, lattice=LATTICE))
    assert square.lattice == "square"
    assert square.spot_diameter == pytest.approx(SPOT_PITCH / 2)
    visium = facts_of(write_h5ad_section(tmp_path / "visium.h5ad", COUNTS, lattice=hexagonal_lattice(3, 4)))
    assert visium.lattice == "hexagonal"
    assert visium.spot_diameter == pytest.approx(SPOT_PITCH * 0.55)
    assert any("estimated from the pitch" in line for line in visium.warnings)


def test_pictures_inside_the_file_are_said_to_be_unused(tmp_path: Path) -> None:
    held = {"images": {"hires": np.ones((2, 2, 3))}, "scalefactors": {"spot_diameter_fullres": 7.5}}
    facts = facts_of(write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, uns={"spatial": {"other": held}}))
    assert facts.spot_diameter == 7.5
    assert any("pictures inside the .h5ad are not used" in line for line in facts.warnings)


def test_sources_are_the_file_and_its_image(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS)
    image = write_picture(tmp_path / "slide.png", 500, 500)
    assert source_files(sample_at(path)) == [path]
    assert source_files(sample_at(path, image=image)) == [path, image]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputDataError, match="cannot be read: truncated, altered") as caught:
        read_sample(sample_at(path))
    assert caught.value.where == str(path)


def test_files_that_miss_a_part_or_hold_impossible_indices_are_refused(tmp_path: Path) -> None:
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS)
    with h5py.File(path, "r+") as file:
        file["X/indices"][0] = 99
    with pytest.raises(InputDataError, match="cannot be read"):
        read_sample(sample_at(path))
    with h5py.File(path, "r+") as file:
        del file["X"]
    with pytest.raises(InputDataError, match="holds neither X nor layers"):
        read_sample(sample_at(path))
    with h5py.File(path, "r+") as file:
        del file["obs"]
    with pytest.raises(InputDataError, match="cannot be read"):
        read_sample(sample_at(path))


def test_a_form_older_than_anndata_0_7_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s1.h5ad"
    with h5py.File(path, "w") as file:
        for name in ("obs", "var"):
            file[name] = np.zeros(3, dtype=[("index", "S4"), ("n", "f4")])
        file["X"] = np.ones((3, 3))
    with pytest.raises(InputDataError, match=r"'obs' in a form older than anndata 0\.7"):
        read_sample(sample_at(path))


def test_an_embedding_is_aligned_to_the_sections_spots(tmp_path: Path) -> None:
    values = np.arange(24, dtype=float).reshape(12, 2)
    path = write_h5ad_section(
        tmp_path / "s1.h5ad",
        COUNTS,
        obs=obs(in_tissue=[0, 1] * 6),
        obsm={"spatial": LATTICE.spatial, "X_model": values},
    )
    read = read_external_representation(sample_at(path), RepresentationSettings(obsm="X_model"))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values[1::2])


def test_an_embedding_is_found_in_a_file_of_its_own_in_any_order(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    values = np.arange(24, dtype=float).reshape(12, 2)
    write_h5ad_section(
        tmp_path / "model_s1.h5ad",
        COUNTS,
        barcodes=[f"s1_{barcode}" for barcode in BARCODES[::-1]],
        obsm={"X_model": values},
    )
    settings = RepresentationSettings(obsm="X_model", file="model_{sample}.h5ad")
    sample = Sample("s1", "d1", folder, sheet=tmp_path / "samples.csv")
    np.testing.assert_array_equal(read_external_representation(sample, settings), values[::-1])
    some = read_external_representation(sample, settings, barcodes=[BARCODES[11], BARCODES[0]])
    np.testing.assert_array_equal(some, values[[0, 11]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"obsm": "X_other"}, r"has no 'X_other', only X_flat, X_model, X_nan"),
        ({"obsm": "X_nan"}, "1 spots have values that are not finite"),
        ({"obsm": "X_flat"}, r"has the shape \(12,\)|has the shape \(12, 0\)"),
        ({"obsm": "X_model", "file": "none_{sample}.h5ad"}, r"none_s1\.h5ad: does not exist"),
        ({"obsm": "X_model", "file": "short.h5ad"}, "lacks 2 of the 12 spots of sample s1"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    values = np.ones((12, 2))
    faulty = values.copy()
    faulty[0, 0] = np.nan
    obsm = {"X_model": values, "X_nan": faulty, "X_flat": np.ones((12, 0))}
    path = write_h5ad_section(tmp_path / "s1.h5ad", COUNTS, obsm=obsm)
    write_h5ad_section(tmp_path / "short.h5ad", COUNTS[:10], obsm={"X_model": values[:10]})
    with pytest.raises(InputDataError, match=message):
        read_external_representation(sample_at(path), RepresentationSettings(**settings), barcodes=BARCODES)


def test_a_space_ranger_folder_holds_no_embedding(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    with pytest.raises(InputDataError, match=r"is a Space Ranger folder.*representations\.<name>\.file"):
        read_external_representation(sample_at(folder), RepresentationSettings(obsm="X_model"))

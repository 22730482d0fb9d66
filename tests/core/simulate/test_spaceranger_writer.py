from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from PIL import Image

from stalign_core.errors import InputDataError
from stalign_core.simulate import CohortDesign, simulate_cohort, simulate_section
from tests.core.simulate.conftest import SEED

SAMPLES = ["P01_S1", "P01_S2", "P02_S1", "P02_S2", "P03_S1", "P03_S2"]
COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


def _positions(folder: Path) -> pd.DataFrame:
    spatial = folder / "spatial"
    listed = spatial / "tissue_positions_list.csv"
    if listed.exists():
        return pd.read_csv(listed, header=None, names=COLUMNS).set_index("barcode")
    table = pd.read_csv(spatial / "tissue_positions.csv")
    assert list(table.columns) == COLUMNS
    return table.set_index("barcode")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    design = CohortDesign(n_donors=3, sections_per_donor=1, lattice_rows=8, lattice_columns=8, n_genes=60)
    first = simulate_cohort(tmp_path / "first", design, seed=3).parent
    second = simulate_cohort(tmp_path / "second", design, seed=3).parent
    other = simulate_cohort(tmp_path / "other", design, seed=4).parent
    assert _digests(first) == _digests(second)
    matrix = "P01_S1/filtered_feature_bc_matrix.h5"
    assert _digests(other)[matrix] != _digests(first)[matrix]


def test_the_sheet_names_every_section_and_files_that_exist(small_cohort: Path) -> None:
    sheet = pd.read_csv(small_cohort / "samples.csv", keep_default_na=False)
    assert list(sheet.columns) == ["sample", "donor", "path", "image", "annotation", "condition"]
    assert list(sheet["sample"]) == SAMPLES
    assert list(sheet["donor"]) == ["P01", "P01", "P02", "P02", "P03", "P03"]
    for column in ("path", "image", "annotation"):
        assert all((small_cohort / entry).exists() for entry in sheet[column] if entry)


def test_the_cohort_holds_every_layout_a_reader_meets(small_cohort: Path) -> None:
    def have(pattern: str) -> set[str]:
        return {path.relative_to(small_cohort).parts[0] for path in small_cohort.glob(pattern)}

    assert have("*/spatial/tissue_positions_list.csv") == {"P01_S1", "P03_S1"}
    assert have("*/spatial/tissue_positions.csv") == set(SAMPLES) - {"P01_S1", "P03_S1"}
    assert set(SAMPLES) - have("*/filtered_feature_bc_matrix.h5") == {"P02_S1"}
    assert have("*/filtered_feature_bc_matrix") == {"P02_S1", "P03_S1", "P03_S2"}
    assert {path.stem for path in (small_cohort / "images").iterdir()} == set(SAMPLES) - {"P03_S1"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_scanpy_reads_the_simulated_counts(small_cohort: Path, small_design: CohortDesign, sample: str) -> None:
    number = SAMPLES.index(sample)
    truth = simulate_section(small_design, number // 2, number % 2, seed=SEED)
    expected = pd.DataFrame(truth.counts.toarray(), truth.tissue_barcodes, truth.genes["gene_id"])
    folder = small_cohort / sample
    read = []
    if (folder / "filtered_feature_bc_matrix.h5").exists():
        table = sc.read_10x_h5(folder / "filtered_feature_bc_matrix.h5")
        assert set(table.var["feature_types"]) == {"Gene Expression"}
        read.append(pd.DataFrame(table.X.toarray(), table.obs_names, table.var["gene_ids"]))
    if (folder / "filtered_feature_bc_matrix").exists():
        read.append(sc.read_10x_mtx(folder / "filtered_feature_bc_matrix", var_names="gene_ids").to_df())
    assert read
    for counts in read:
        assert list(counts.index) == sorted(truth.tissue_barcodes)
        np.testing.assert_array_equal(counts, expected.loc[counts.index, counts.columns])
        n_missing = small_design.n_genes - counts.shape[1]
        assert (n_missing > 0) == (sample == "P02_S2")
        assert n_missing < 0.05 * small_design.n_genes


@pytest.mark.parametrize("sample", SAMPLES)
def test_positions_match_barcodes_lattice_and_pixels(small_cohort: Path, sample: str) -> None:
    positions = _positions(small_cohort / sample)
    assert len(positions) == 16 * 16
    assert set(positions["in_tissue"]) == {0, 1}
    assert ((positions["array_row"] + positions["array_col"]) % 2 == 0).all()
    design = np.column_stack([np.ones(256), positions["array_row"], positions["array_col"]])
    pixels = positions[["pxl_row_in_fullres", "pxl_col_in_fullres"]].to_numpy(float)
    fitted, *_ = np.linalg.lstsq(design, pixels, rcond=None)
    assert np.abs(design @ fitted - pixels).max() <= 1.0
    # 32 pixels between neighbours: 32 sqrt(3) / 2 down a row, 16 along a column step.
    assert fitted[1, 0] == pytest.approx(27.71, abs=0.05)
    assert fitted[2, 1] == pytest.approx(16.0, abs=0.05)
    if (small_cohort / sample / "filtered_feature_bc_matrix.h5").exists():
        barcodes = sc.read_10x_h5(small_cohort / sample / "filtered_feature_bc_matrix.h5").obs_names
        assert set(barcodes) == set(positions.index[positions["in_tissue"] == 1])


def test_whole_pixels_until_version_two_and_fractions_after(small_cohort: Path) -> None:
    for sample in SAMPLES:
        kind = _positions(small_cohort / sample)["pxl_col_in_fullres"].dtype.kind
        assert kind == ("f" if sample in {"P02_S2", "P03_S2"} else "i")


@pytest.mark.parametrize("sample", SAMPLES)
def test_pictures_agree_with_their_scale_factors(small_cohort: Path, sample: str) -> None:
    spatial = small_cohort / sample / "spatial"
    scales = json.loads((spatial / "scalefactors_json.json").read_text())
    assert set(scales) == {
        "tissue_hires_scalef",
        "tissue_lowres_scalef",
        "spot_diameter_fullres",
        "fiducial_diameter_fullres",
    }
    assert scales["fiducial_diameter_fullres"] == pytest.approx(1.5 * scales["spot_diameter_fullres"])
    for name, side in (("hires", 400), ("lowres", 120)):
        with Image.open(spatial / f"tissue_{name}_image.png") as picture:
            assert max(picture.size) == side
            full = np.array(picture.size) / scales[f"tissue_{name}_scalef"]
        image = small_cohort / "images" / f"{sample}.tif"
        if image.exists():
            with tifffile.TiffFile(image) as tiff:
                page = tiff.pages[0]
                assert np.abs(full - [page.imagewidth, page.imagelength]).max() < 1 / scales[f"tissue_{name}_scalef"]
    positions = _positions(small_cohort / sample)
    hires = np.asarray(Image.open(spatial / "tissue_hires_image.png")).mean(axis=2)
    spots = (positions[["pxl_row_in_fullres", "pxl_col_in_fullres"]] * scales["tissue_hires_scalef"]).astype(int)
    at_spots = hires[spots.iloc[:, 0], spots.iloc[:, 1]]
    assert at_spots[positions["in_tissue"] == 1].mean() < at_spots[positions["in_tissue"] == 0].mean() - 20


def test_full_resolution_images_are_tiled_and_compressed(small_cohort: Path) -> None:
    for path in (small_cohort / "images").iterdir():
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            assert page.is_tiled
            assert page.compression == tifffile.COMPRESSION.JPEG
            assert page.shape[2] == 3
            assert page.asarray().reshape(-1, 3).max() > 235


def test_annotations_name_most_spots_under_tissue(small_cohort: Path, small_design: CohortDesign) -> None:
    for sample in SAMPLES:
        annotation = pd.read_csv(small_cohort / "annotations" / f"{sample}.csv")
        positions = _positions(small_cohort / sample)
        under_tissue = set(positions.index[positions["in_tissue"] == 1])
        assert set(annotation["barcode"]) < under_tissue
        assert len(annotation) > 0.85 * len(under_tissue)
        assert set(annotation["label"]) == set(small_design.domains)


def test_stalign_reads_what_was_simulated(small_cohort: Path, small_design: CohortDesign) -> None:
    from stalign_core.cohort import read_sample_sheet
    from stalign_core.readers import read_sample

    kinds = []
    for number, sample in enumerate(read_sample_sheet(small_cohort / "samples.csv").samples):
        read = read_sample(sample)
        truth = simulate_section(small_design, number // 2, number % 2, seed=SEED).to_anndata()
        truth = truth[list(read.obs_names), list(read.var_names)]
        assert (read.X != truth.X).nnz == 0
        np.testing.assert_allclose(read.obsm["spatial"], truth.obsm["spatial"], atol=0.5)
        labelled = read.obs["label"].notna()
        assert 0 < (~labelled).sum() < 0.15 * len(labelled)
        assert (read.obs["label"][labelled] == truth.obs["label"][labelled]).all()
        for column in ("array_row", "array_col", "donor", "sample"):
            assert (read.obs[column].astype(str) == truth.obs[column].astype(str)).all()
        facts = read.uns["stalign"]
        kinds.append(facts["image_kind"])
        expected = truth.uns["stalign"]
        for name in ("lattice", "key_space", "spot_diameter", "n_spots_off_tissue"):
            assert facts[name] == expected[name], name
    assert kinds == ["full", "full", "full", "full", "hires", "full"]


def test_progress_is_told_before_each_section_and_at_the_end(tmp_path: Path) -> None:
    design = CohortDesign(n_donors=2, sections_per_donor=1, lattice_rows=8, lattice_columns=8, n_genes=50)
    told: list[tuple[str, int, int]] = []
    simulate_cohort(tmp_path, design, progress=lambda what, done, total: told.append((what, done, total)))
    assert [(done, total) for _, done, total in told] == [(0, 2), (1, 2), (2, 2)]
    assert "P02_S1" in told[1][0]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("")
    with pytest.raises(InputDataError, match="is a file"):
        simulate_cohort(path)

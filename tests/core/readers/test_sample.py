"""A section read as a whole: what it holds, which image serves, and which inputs are refused."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from stalign_core.cohort import Sample
from stalign_core.errors import ImageError, InputDataError
from stalign_core.readers import SampleFacts, parts_of_section, read_sample, source_files
from tests.builders import (
    HIRES_SCALE,
    LOWRES_SCALE,
    SPOT_DIAMETER,
    MatrixForm,
    ensembl_ids,
    hexagonal_lattice,
    random_counts,
    visium_barcodes,
    write_annotation,
    write_picture,
    write_spaceranger_section,
)

COUNTS = random_counts(12, 7)
LATTICE = hexagonal_lattice(3, 4)
BARCODES = visium_barcodes(12)


def sample_at(path: Path, image: Path | None = None, annotation: Path | None = None) -> Sample:
    return Sample("s1", "d1", path, image, annotation)


def facts_of(section: anndata.AnnData) -> SampleFacts:
    return SampleFacts.from_dict(section.uns["stalign"])


def test_a_section_holds_counts_positions_names_and_facts(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path, COUNTS, lattice=LATTICE)
    section = read_sample(sample_at(folder))
    assert section.X.dtype == np.int32
    assert section.X.has_canonical_format
    np.testing.assert_array_equal(section.X.toarray(), COUNTS)
    assert section.obs_names.tolist() == section.obs["barcode"].tolist() == BARCODES
    assert set(section.obs["sample"]) == {"s1"}
    assert set(section.obs["donor"]) == {"d1"}
    assert section.obs["label"].isna().all()
    assert section.obs["array_row"].dtype == section.obs["array_col"].dtype == np.int32
    np.testing.assert_array_equal(section.obs[["array_row", "array_col"]].T, [LATTICE.array_row, LATTICE.array_col])
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial)
    assert section.var_names.tolist() == ensembl_ids(7)
    assert section.var["symbol"].tolist() == [f"GENE{i}" for i in range(1, 8)]
    facts = facts_of(section)
    assert (facts.lattice, facts.key_space, facts.spot_diameter) == ("hexagonal", "ensembl", SPOT_DIAMETER)


def test_spots_off_the_tissue_are_left_out_and_counted(tmp_path: Path) -> None:
    flags = [1, 0] * 6
    section = read_sample(sample_at(write_spaceranger_section(tmp_path, COUNTS, lattice=LATTICE, in_tissue=flags)))
    assert section.obs_names.tolist() == BARCODES[::2]
    np.testing.assert_array_equal(section.X.toarray(), COUNTS[::2])
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial[::2])
    assert facts_of(section).n_spots_off_tissue == 6


def test_positions_in_another_order_and_form_of_barcode_are_matched(tmp_path: Path) -> None:
    written = [f"s1_{barcode}" for barcode in reversed(BARCODES)]
    folder = write_spaceranger_section(tmp_path, COUNTS[::-1], lattice=LATTICE, barcodes=written)
    positions = folder / "spatial" / "tissue_positions.csv"
    positions.write_text(positions.read_text().replace("s1_", ""))
    lines = positions.read_text().splitlines()
    positions.write_text("\n".join([lines[0], *sorted(lines[1:])]))
    section = read_sample(sample_at(folder))
    assert section.obs_names.tolist() == BARCODES[::-1]
    np.testing.assert_array_equal(section.X.toarray(), COUNTS[::-1])
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial)


def test_a_section_survives_being_stored(tmp_path: Path) -> None:
    labels = write_annotation(tmp_path / "labels.csv", {BARCODES[0]: "L1", BARCODES[3]: "NA"})
    for name, annotation in (("with", labels), ("without", None)):
        section = read_sample(sample_at(write_spaceranger_section(tmp_path / name, COUNTS), annotation=annotation))
        before = facts_of(section)
        section.write_h5ad(tmp_path / f"{name}.h5ad")
        stored = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
        assert facts_of(stored) == before
        assert stored.obs["label"].isna().sum() == (11 if annotation else 12)
        np.testing.assert_array_equal(stored.X.toarray(), COUNTS)


def test_a_barcode_without_position_is_refused_with_the_count(tmp_path: Path) -> None:
    other = [*BARCODES[:10], "X", "Y"]
    folder = write_spaceranger_section(tmp_path, COUNTS, lattice=LATTICE, position_barcodes=other)
    with pytest.raises(InputDataError) as caught:
        read_sample(sample_at(folder))
    assert caught.value.where == str(folder / "spatial" / "tissue_positions.csv")
    assert "holds only 10 of the 12 barcodes" in caught.value.problem
    assert f"missing: {BARCODES[10]}" in caught.value.problem


def test_positions_that_match_no_barcode_are_refused(tmp_path: Path) -> None:
    other = [f"bin_{i}" for i in range(12)]
    folder = write_spaceranger_section(tmp_path, COUNTS, lattice=LATTICE, position_barcodes=other)
    with pytest.raises(InputDataError, match="holds none of the 12 barcodes"):
        read_sample(sample_at(folder))


def test_spots_on_the_tissue_without_counts_are_reported(tmp_path: Path) -> None:
    folder = write_spaceranger_section(
        tmp_path, COUNTS[:10], lattice=LATTICE, position_barcodes=BARCODES, barcodes=BARCODES[:10]
    )
    section = read_sample(sample_at(folder))
    assert section.n_obs == 10
    assert "2 spots on the tissue have no counts and cannot be used" in facts_of(section).warnings


def test_empty_sections_are_refused_and_empty_spots_reported(tmp_path: Path) -> None:
    off = write_spaceranger_section(tmp_path / "off", COUNTS, lattice=LATTICE, in_tissue=[0] * 12)
    with pytest.raises(InputDataError, match="sample s1 has no spot on the tissue"):
        read_sample(sample_at(off))
    zero = write_spaceranger_section(tmp_path / "zero", np.zeros((12, 7), int), lattice=LATTICE)
    with pytest.raises(InputDataError, match="has no count in any of its 12 spots"):
        read_sample(sample_at(zero))
    none = write_spaceranger_section(tmp_path / "none", np.zeros((0, 7), int))
    with pytest.raises(InputDataError, match="sample s1 has no spot on the tissue"):
        read_sample(sample_at(none))
    counts = COUNTS.copy()
    counts[4] = 0
    section = read_sample(sample_at(write_spaceranger_section(tmp_path / "one", counts, lattice=LATTICE)))
    assert section.n_obs == 12
    assert "1 spot has no counts" in facts_of(section).warnings


def test_the_hires_picture_serves_before_the_lowres_one_with_its_scale_and_a_warning(tmp_path: Path) -> None:
    for pictures, kind, scale in (
        (("hires", "lowres"), "hires", HIRES_SCALE),
        (("lowres",), "lowres", LOWRES_SCALE),
    ):
        folder = write_spaceranger_section(tmp_path / kind, COUNTS, pictures=pictures)  # type: ignore[arg-type]
        facts = facts_of(read_sample(sample_at(folder)))
        assert facts.image == str(folder / "spatial" / f"tissue_{kind}_image.png")
        assert (facts.image_kind, facts.image_scale) == (kind, scale)
        assert any(f"the diameter of a spot gets {SPOT_DIAMETER * scale:.1f} pixels" in line for line in facts.warnings)


def test_the_sheets_image_is_full_resolution_unless_it_is_the_folders_own_picture(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    slide = write_picture(tmp_path / "slide.png", 1200, 1200)
    facts = facts_of(read_sample(sample_at(folder, image=slide)))
    assert (facts.image, facts.image_kind, facts.image_scale) == (str(slide), "full", 1.0)
    assert facts.warnings == []
    own = facts_of(read_sample(sample_at(folder, image=folder / "spatial" / "tissue_lowres_image.png")))
    assert (own.image_kind, own.image_scale) == ("lowres", LOWRES_SCALE)


def test_a_section_without_any_image_says_so(tmp_path: Path) -> None:
    facts = facts_of(read_sample(sample_at(write_spaceranger_section(tmp_path, COUNTS, pictures=()))))
    assert (facts.image, facts.image_kind, facts.image_scale) == ("", "none", 0.0)
    assert facts.warnings == ["there is no image: morphology is missing for every spot"]


def test_coordinates_outside_the_image_are_refused_when_most_and_reported_when_few(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS, lattice=LATTICE)
    x = LATTICE.spatial[:, 0]
    few = write_picture(tmp_path / "few.png", int(x.max()), 1000)
    n_outside = int((x >= int(x.max())).sum())
    assert 0 < n_outside < 6
    facts = facts_of(read_sample(sample_at(folder, image=few)))
    assert any(line.startswith(f"{n_outside} of 12 spots lie outside the image") for line in facts.warnings)
    tiny = write_picture(tmp_path / "tiny.png", 10, 10)
    with pytest.raises(InputDataError, match="12 of 12 spots lie outside the image of 10 x 10 pixels") as caught:
        read_sample(sample_at(folder, image=tiny))
    assert caught.value.where == str(tiny)


def test_a_broken_image_is_refused(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    slide = write_picture(tmp_path / "slide.png", 64, 64)
    slide.write_bytes(slide.read_bytes()[:20])
    with pytest.raises(ImageError):
        read_sample(sample_at(folder, image=slide))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "holds no JSON object"),
        ('{"tissue_lowres_scalef": 0.5}', "misses spot_diameter_fullres"),
        ('{"spot_diameter_fullres": -1}', "spot_diameter_fullres: is -1"),
        ('{"spot_diameter_fullres": "9"}', "spot_diameter_fullres: is '9'"),
        ('{"spot_diameter_fullres": 9}', "misses tissue_lowres_scalef"),
    ],
)
def test_scale_factors_that_cannot_be_used_are_refused(tmp_path: Path, content: str, message: str) -> None:
    folder = write_spaceranger_section(tmp_path, COUNTS)
    (folder / "spatial" / "scalefactors_json.json").write_text(content)
    with pytest.raises(InputDataError, match=message):
        read_sample(sample_at(folder))


def test_sources_are_every_raw_file_that_is_read(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS, matrix="mtx_gz", pictures=("hires", "lowres"))
    labels = write_annotation(tmp_path / "labels.csv", {BARCODES[0]: "L1"})
    sample = sample_at(folder, annotation=labels)
    matrix, spatial = folder / "filtered_feature_bc_matrix", folder / "spatial"
    expected = [
        *(matrix / name for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")),
        *(spatial / name for name in ("tissue_positions.csv", "scalefactors_json.json", "tissue_hires_image.png")),
        labels,
    ]
    assert source_files(sample) == expected
    assert facts_of(read_sample(sample)).sources == [str(path) for path in expected]


@pytest.mark.parametrize("matrix", ["h5_v3", "mtx_gz"])
@pytest.mark.parametrize("place", ["", "outs"])
def test_parts_of_a_section_are_found_before_it_is_complete(tmp_path: Path, matrix: MatrixForm, place: str) -> None:
    folder = write_spaceranger_section(tmp_path / "run" / place, COUNTS, matrix=matrix)
    (folder / "analysis").mkdir()
    (folder / "analysis" / "clusters.csv").touch()
    read = source_files(sample_at(tmp_path / "run"))
    assert set(read) <= set(parts_of_section(tmp_path / "run"))
    positions = folder / "spatial" / "tissue_positions.csv"
    positions.unlink()
    with pytest.raises(InputDataError, match="tissue_positions"):
        source_files(sample_at(tmp_path / "run"))
    parts = parts_of_section(tmp_path / "run")
    assert set(read) - {positions} <= set(parts)
    assert not [path for path in parts if path.is_dir() or "analysis" in path.parts]


def test_labels_are_joined_by_barcode_and_missing_ones_stay_missing(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS, in_tissue=[1] * 11 + [0])
    given = {BARCODES[2]: "L1", BARCODES[0]: "WM", BARCODES[5]: "", BARCODES[6]: "NA", BARCODES[11]: "L1"}
    labels = write_annotation(tmp_path / "labels.csv", given)
    read = read_sample(sample_at(folder, annotation=labels)).obs["label"]
    assert read.dropna().to_dict() == {BARCODES[0]: "WM", BARCODES[2]: "L1"}


def test_labels_under_prefixed_barcodes_are_joined(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    labels = write_annotation(tmp_path / "labels.csv", {f"s1_{barcode}": "L1" for barcode in BARCODES[:3]})
    read = read_sample(sample_at(folder, annotation=labels)).obs["label"]
    assert read.dropna().index.tolist() == BARCODES[:3]


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("barcode,cluster\nA,1\n", ", row 1", "misses the column label"),
        ("label\nL1\n", ", row 1", "misses the column barcode"),
        (f"barcode,label\n{BARCODES[0]},a\n{BARCODES[1]},b\n{BARCODES[0]},a\n", ", row 4, barcode", "stands twice"),
        (f"barcode,label\n{BARCODES[0]},a\nX,b\nY,b\n", ", row 3, barcode", "2 of 3 barcodes are not in sample s1"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_refused(tmp_path: Path, text: str, where: str, problem: str) -> None:
    folder = write_spaceranger_section(tmp_path / "section", COUNTS)
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(InputDataError) as caught:
        read_sample(sample_at(folder, annotation=labels))
    assert caught.value.where == f"{labels}{where}"
    assert problem in caught.value.problem


def test_facts_survive_json() -> None:
    facts = SampleFacts("square", "symbol", "", "none", 0.0, 5.0, 3, ["a"], ["/x"])
    assert SampleFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_labels_are_categorical_so_that_missing_ones_can_be_stored(tmp_path: Path) -> None:
    section = read_sample(sample_at(write_spaceranger_section(tmp_path, COUNTS)))
    assert isinstance(section.obs["label"].dtype, pd.CategoricalDtype)

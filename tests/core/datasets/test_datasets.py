"""The paper's data sets have its donors and sections, and a downloaded folder becomes a sheet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from stalign_core.cohort import Sample, read_sample_sheet
from stalign_core.datasets import DATASETS, RemoteFile, without_labels, write_sheet
from stalign_core.datasets.files import libd_files
from stalign_core.errors import InputDataError
from stalign_core.readers import read_sample
from stalign_core.simulate import CohortDesign, simulate_cohort
from stalign_core.store.hashing import file_sha256


def test_sections_and_donors_are_as_many_as_the_paper_says() -> None:
    counts = {name: (len(found.sections), len(found.donors)) for name, found in DATASETS.items()}
    assert counts == {"libd": (12, 3), "usz_lung": (4, 4), "tumor_profiler": (18, 7)}


def test_each_data_set_is_benchmarked_as_the_paper_does() -> None:
    found = {
        name: (each.settings.benchmark.tasks, each.settings.domains.ignored_labels) for name, each in DATASETS.items()
    }
    assert found == {
        "libd": (("single_donor",), ("undetermined",)),
        "usz_lung": (("multi_donor",), ("undetermined", "UNASSIGNED", "Unassigned")),
        "tumor_profiler": (("multi_donor",), ("undetermined",)),
    }


def test_donors_hold_the_sections_of_the_papers_tables() -> None:
    assert DATASETS["libd"].donors["Donor3"] == ["151673", "151674", "151675", "151676"]
    assert DATASETS["tumor_profiler"].donors["MAJOFIJ"] == ["MAJOFIJ-1-1", "MAJOFIJ-1-2", "MAJOFIJ-2-1", "MAJOFIJ-2-2"]
    assert "LC4" not in DATASETS["usz_lung"].donors


def test_a_downloaded_folder_becomes_a_sheet_that_is_read(tmp_path: Path) -> None:
    for name in ("LC1.h5ad", "LC2.h5ad", "LC3.h5ad", "LC5.h5ad", "LC3_annotation.csv"):
        (tmp_path / name).touch()
    cohort = read_sample_sheet(write_sheet("usz_lung", tmp_path))
    assert cohort.donors == ("LC1", "LC2", "LC3", "LC5")
    assert [sample.path.name for sample in cohort.samples] == ["LC1.h5ad", "LC2.h5ad", "LC3.h5ad", "LC5.h5ad"]
    assert [sample.annotation is not None for sample in cohort.samples] == [False, False, True, False]


def test_labels_beside_a_section_or_in_its_folder_are_found_and_missing_ones_are_named(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / str(151673 + number) / "spatial").mkdir(parents=True)
    for each in DATASETS["libd"].sections[:8]:
        (tmp_path / f"{each.sample}.h5ad").touch()
        (tmp_path / f"{each.sample}_annotation.csv").touch()
    (tmp_path / "151673" / "annotation.csv").touch()
    (tmp_path / "151674_annotation.csv").touch()
    sheet = write_sheet("libd", tmp_path)
    found = pd.read_csv(sheet, dtype=str).set_index("sample")["annotation"]
    assert found["151673"] == "151673/annotation.csv" and found["151674"] == "151674_annotation.csv"
    said = without_labels("libd", sheet)
    assert said.startswith("no labels for 151675, 151676: ") and "HumanPilot/master/10X/barcode_level_layer_map" in said
    for name in ("151675", "151676"):
        (tmp_path / name / "annotation.csv").touch()
    sheet.unlink()
    assert without_labels("libd", write_sheet("libd", tmp_path)) == ""


def test_a_missing_section_and_an_existing_sheet_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"holds no section LC1.*LC1.h5ad.*zenodo"):
        write_sheet("usz_lung", tmp_path)
    assert not list(tmp_path.iterdir())
    for number in (1, 2, 3, 5):
        (tmp_path / f"LC{number}.h5ad").touch()
    (tmp_path / "samples.csv").write_text("sample,donor,path\n")
    with pytest.raises(InputDataError, match=r"samples.csv: exists already, with other content.*--samples"):
        write_sheet("usz_lung", tmp_path)
    assert (tmp_path / "samples.csv").read_text() == "sample,donor,path\n", "another's sheet stays"
    with pytest.raises(InputDataError, match="one of libd, usz_lung, tumor_profiler"):
        write_sheet("other", tmp_path)


def test_files_are_named_as_published_and_counts_have_checksums() -> None:
    files = {file.name: file for file in DATASETS["libd"].files}
    sections = [section.sample for section in DATASETS["libd"].sections]
    for section in sections:
        counts = files[f"{section}_filtered_feature_bc_matrix.h5"]
        assert counts.url.endswith(f"/h5/{counts.name}") and len(bytes.fromhex(counts.sha256)) == 32
        assert {f"{section}/tissue_positions_list.txt", f"{section}/scalefactors_json.json"} <= files.keys()
    assert len({file.sha256 for file in files.values() if file.sha256}) == 12
    assert all(file.url.startswith("https://") for dataset in DATASETS.values() for file in dataset.files)
    assert [file.name for file in DATASETS["usz_lung"].files] == ["TLS_VISIUM_USZ.zip"]
    assert not DATASETS["tumor_profiler"].files, "had upon request"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A small section in a Space Ranger folder."""
    root = tmp_path_factory.mktemp("section")
    design = CohortDesign(n_donors=1, sections_per_donor=1, lattice_rows=8, lattice_columns=8, n_genes=60, n_domains=3)
    return read_sample_sheet(simulate_cohort(root / "data", design, seed=2)).samples[0]


@pytest.fixture
def libd(tmp_path: Path, original: Sample, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of downloads with the published names, every section with the same content."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    section = original.path
    counts = next(section.glob("*filtered_feature_bc_matrix.h5"))
    positions = next((section / "spatial").glob("tissue_positions*"))
    barcodes = list(read_sample(original).obs["barcode"])
    labels = []
    for each in DATASETS["libd"].sections:
        name = each.sample
        shutil.copy(counts, folder / f"{name}_filtered_feature_bc_matrix.h5")
        (folder / name).mkdir()
        shutil.copy(positions, folder / name / "tissue_positions_list.txt")
        shutil.copy(section / "spatial" / "scalefactors_json.json", folder / name)
        shutil.copy(section / "spatial" / "tissue_lowres_image.png", folder / f"{name}_tissue_lowres_image.png")
        labels += [f"{barcodes[0]}\t{name}\tL1", f"{barcodes[1]}\t{name}\tWM", f"{barcodes[2]}\t{name}\tNA"]
    (folder / "barcode_level_layer_map.tsv").write_text("\n".join(labels) + "\n")
    known = file_sha256(counts)
    files = tuple(replace(file, sha256=known if file.sha256 else "") for file in libd_files())
    monkeypatch.setattr("stalign_core.datasets.libd.libd_files", lambda: files)
    return folder


def test_published_libd_files_become_sections_that_are_read(libd: Path, original: Sample) -> None:
    expected = read_sample(original)
    cohort = read_sample_sheet(write_sheet("libd", libd))
    assert {donor: len([s for s in cohort.samples if s.donor == donor]) for donor in cohort.donors} == {
        "Donor1": 4,
        "Donor2": 4,
        "Donor3": 4,
    }
    assert cohort.samples[2].extra["region"] == "Posterior"
    for sample in (cohort.samples[0], cohort.samples[-1]):
        read = read_sample(sample)
        np.testing.assert_array_equal(read.X.toarray(), expected.X.toarray())
        np.testing.assert_allclose(read.obsm["spatial"], expected.obsm["spatial"])
        assert read.obs["label"].value_counts().to_dict() == {"L1": 1, "WM": 1}


def test_counts_that_are_not_the_published_ones_are_refused(libd: Path) -> None:
    with (libd / "151670_filtered_feature_bc_matrix.h5").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputDataError, match=r"151670_filtered_feature_bc_matrix.h5.*SHA-256 differs.*h5/151670_"):
        write_sheet("libd", libd)
    assert not (libd / "samples.csv").exists()


def test_positions_that_were_not_downloaded_are_named_with_their_place(libd: Path) -> None:
    (libd / "151673" / "tissue_positions_list.txt").rename(libd / "151673_tissue_positions_list.txt")
    (libd / "151674" / "tissue_positions_list.txt").unlink()
    with pytest.raises(InputDataError, match=r"counts of section 151674.*HumanPilot/master/10X/151674/"):
        write_sheet("libd", libd)


def test_where_the_disk_knows_no_links_files_are_copied(libd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    cohort = read_sample_sheet(write_sheet("libd", libd))
    assert not (cohort.samples[0].path / "filtered_feature_bc_matrix.h5").is_symlink()
    assert read_sample(cohort.samples[0]).n_obs > 0


@pytest.mark.parametrize("inner", ["TLS_VISIUM_USZ/h5ad_preprocessed", "h5ad_preprocessed"])
def test_the_unpacked_lung_archive_becomes_sections_with_the_labels_of_their_tables(
    tmp_path: Path, inner: str, published: Callable[[Path], None]
) -> None:
    for name in ("LC1", "LC2", "LC3", "LC4", "LC5"):
        (tmp_path / inner).mkdir(parents=True, exist_ok=True)
        published(tmp_path / inner / f"{name}.h5ad")
    (tmp_path / inner).with_name("tif_slides").mkdir()
    (tmp_path / inner).with_name("tif_slides").joinpath("LC2.tif").touch()
    cohort = read_sample_sheet(write_sheet("usz_lung", tmp_path))
    assert cohort.donors == ("LC1", "LC2", "LC3", "LC5")
    assert [sample.image is not None for sample in cohort.samples] == [False, True, False, False]
    read = read_sample(cohort.samples[0])
    assert read.obs["label"].value_counts().to_dict() == {"TUM": read.n_obs - 2, "TLS": 1}


@pytest.fixture
def published(original: Sample) -> Callable[[Path], None]:
    """Writes a section as an .h5ad with its labels in the table of spots."""
    read = read_sample(original)
    table = anndata.AnnData(read.X.copy(), obs=pd.DataFrame(index=read.obs["barcode"].astype(str).to_numpy()))
    table.var_names = read.var_names
    table.obsm["spatial"] = read.obsm["spatial"]
    table.obs["ground_truth"] = pd.Categorical(["TLS", None] + ["TUM"] * (read.n_obs - 2))
    return table.write_h5ad


def test_a_file_without_a_known_checksum_is_taken_as_it_is(tmp_path: Path) -> None:
    from stalign_core.datasets.arranging import check_published

    (tmp_path / "a").write_text("anything")
    check_published(tmp_path, RemoteFile("a", "https://example.org/a"))

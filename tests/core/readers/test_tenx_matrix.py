"""10x count matrices of every layout hold what was written, and broken ones are refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from stalign_core.errors import InputDataError
from stalign_core.readers.counts import CountTable
from stalign_core.readers.layout import SpaceRangerFiles, locate_section
from stalign_core.readers.tenx_matrix import read_tenx_h5, read_tenx_mtx
from tests.builders import MatrixForm, ensembl_ids, random_counts, visium_barcodes, write_spaceranger_section

COUNTS = random_counts(12, 7)


def read(folder: Path) -> CountTable:
    files = locate_section(folder)
    assert isinstance(files, SpaceRangerFiles)
    return read_tenx_h5(files.matrix) if len(files.matrix_files) == 1 else read_tenx_mtx(*files.matrix_files)


@pytest.mark.parametrize("form", ["h5_v3", "h5_v2", "mtx_gz", "mtx", "mtx_genes"])
def test_every_layout_gives_the_counts_that_were_written(tmp_path: Path, form: MatrixForm) -> None:
    table = read(write_spaceranger_section(tmp_path, COUNTS, matrix=form))
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert table.barcodes.tolist() == visium_barcodes(12)
    assert table.genes.tolist() == ensembl_ids(7)
    assert table.symbols.tolist() == [f"GENE{i}" for i in range(1, 8)]


@pytest.mark.parametrize("form", ["h5_v3", "mtx"])
def test_only_gene_expression_is_kept(tmp_path: Path, form: MatrixForm) -> None:
    kinds = ["Gene Expression", "Antibody Capture", "Gene Expression", *["CRISPR Guide Capture"] * 4]
    table = read(write_spaceranger_section(tmp_path, COUNTS, matrix=form, feature_types=kinds))
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS[:, [0, 2]])
    assert table.genes.tolist() == [ensembl_ids(7)[0], ensembl_ids(7)[2]]


def test_a_matrix_without_gene_expression_is_refused(tmp_path: Path) -> None:
    folder = write_spaceranger_section(tmp_path, COUNTS, feature_types=["Antibody Capture"] * 7)
    with pytest.raises(InputDataError, match="holds no gene expression, only Antibody Capture"):
        read(folder)


def test_a_name_in_front_of_the_matrix_file_is_tolerated_unless_there_are_two(tmp_path: Path) -> None:
    write_spaceranger_section(tmp_path, COUNTS)
    own = tmp_path / "filtered_feature_bc_matrix.h5"
    own.rename(tmp_path / "s1_filtered_feature_bc_matrix.h5")
    np.testing.assert_array_equal(read(tmp_path).counts.toarray(), COUNTS)
    (tmp_path / "s2_filtered_feature_bc_matrix.h5").touch()
    with pytest.raises(InputDataError, match="holds 2 count matrices"):
        locate_section(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.9, 0.999])
def test_a_truncated_h5_is_refused_in_one_line(tmp_path: Path, kept: float) -> None:
    path = write_spaceranger_section(tmp_path, random_counts(50, 40)) / "filtered_feature_bc_matrix.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputDataError, match="cannot be read: truncated, altered") as caught:
        read(tmp_path)
    assert caught.value.where == str(path)
    assert "\n" not in caught.value.line


def test_altered_bytes_in_the_counts_are_refused(tmp_path: Path) -> None:
    path = write_spaceranger_section(tmp_path, random_counts(50, 40)) / "filtered_feature_bc_matrix.h5"
    with h5py.File(path) as file:
        chunk = file["matrix/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)
    with pytest.raises(InputDataError, match="cannot be read: truncated, altered"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "position", "value"), [("indices", 3, 99), ("indices", 0, -1), ("indptr", 4, 0), ("indptr", 0, 2)]
)
def test_impossible_indices_are_refused(tmp_path: Path, name: str, position: int, value: int) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS) / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "r+") as file:
        file[f"matrix/{name}"][position] = value
    with pytest.raises(InputDataError, match="cannot be read"):
        read(tmp_path)


def test_an_h5_of_something_else_or_of_two_genomes_is_refused(tmp_path: Path) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS, matrix="h5_v2") / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "r+") as file:
        file.copy("GRCh38", "mm10")
    with pytest.raises(InputDataError, match=r"several genomes \(GRCh38, mm10\)"):
        read(tmp_path)
    with h5py.File(path, "w") as file:
        file.create_group("images")
    with pytest.raises(InputDataError, match="holds no count matrix"):
        read(tmp_path)


def test_fractional_counts_of_either_layout_are_refused(tmp_path: Path) -> None:
    for form in ("h5_v3", "mtx"):
        folder = write_spaceranger_section(tmp_path / form, COUNTS * 0.5, matrix=form)  # type: ignore[arg-type]
        with pytest.raises(InputDataError, match="are not integers"):
            read(folder)


def test_a_fraction_is_refused_also_where_the_header_says_integer(tmp_path: Path) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS, matrix="mtx") / "filtered_feature_bc_matrix" / "matrix.mtx"
    lines = path.read_text().splitlines()
    lines[-1] = " ".join([*lines[-1].split()[:2], "1.5"])
    path.write_text("\n".join(lines))
    with pytest.raises(InputDataError, match=r"1 of \d+ stored counts are not integers \(first: 1.5\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no line"),
        ("%%MatrixMarket matrix array real general\n1 1\n1\n", "no line"),
        ("%%MatrixMarket matrix coordinate integer general\n", "no line with its size"),
        ("%%MatrixMarket matrix coordinate integer general\n7 12 3\n1 1 1\n2 2 2\n", "2 entries"),
        ("%%MatrixMarket matrix coordinate integer general\n7 12 1\n8 1 1\n", ""),
        ("%%MatrixMarket matrix coordinate integer general\n7 12 1\n0 1 1\n", ""),
        ("%%MatrixMarket matrix coordinate integer general\n7 12 1\n1 x 1\n", "without its gene or spot"),
    ],
)
def test_a_broken_matrix_market_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS, matrix="mtx") / "filtered_feature_bc_matrix" / "matrix.mtx"
    path.write_text(content)
    with pytest.raises(InputDataError, match=f"cannot be read.*{reason}") as caught:
        read(tmp_path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("file", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
def test_a_truncated_compressed_file_is_refused(tmp_path: Path, file: str) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS, matrix="mtx_gz") / "filtered_feature_bc_matrix" / file
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputDataError, match="cannot be read") as caught:
        read(tmp_path)
    assert caught.value.where == str(path)


def test_files_of_one_folder_that_disagree_are_refused(tmp_path: Path) -> None:
    path = write_spaceranger_section(tmp_path, COUNTS, matrix="mtx_gz") / "filtered_feature_bc_matrix"
    with gzip.open(path / "barcodes.tsv.gz", "at") as file:
        file.write("ONE-MORE\n")
    with pytest.raises(InputDataError, match="12 spots x 7 genes, but 13 barcodes and 7 genes"):
        read(tmp_path)

"""The sample sheet: what is accepted, and that every fault is named by file, row and field."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stalign_core.cohort import check_files, read_sample_sheet, read_sheet_text
from stalign_core.errors import InputDataError, SampleSheetError
from tests.builders import random_counts, write_picture, write_sheet, write_spaceranger_section


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with two complete sections, an image and an annotation."""
    for name in ("first", "second"):
        write_spaceranger_section(tmp_path / name, random_counts(5, 4))
    write_picture(tmp_path / "slide.png", 8, 8)
    (tmp_path / "labels.csv").write_text("barcode,label\nA,B\n")
    return tmp_path


def row(sample: str = "s1", donor: str = "d1", path: str = "first", **more: str) -> dict[str, str]:
    return {"sample": sample, "donor": donor, "path": path, **more}


def fault(study: Path, *rows: dict[str, str]) -> SampleSheetError:
    with pytest.raises(SampleSheetError) as caught:
        read_sample_sheet(write_sheet(study / "samples.csv", rows))
    assert "\n" not in str(caught.value)
    return caught.value


def test_rows_become_samples_with_paths_relative_to_the_sheet(study: Path) -> None:
    sheet = write_sheet(
        study / "samples.csv",
        [
            row("s1", "d2", "first", image="slide.png", annotation="labels.csv", region="cortex"),
            row("s2", "d1", "second"),
            row("s3", "d2", "second"),
        ],
    )
    cohort = read_sample_sheet(sheet)
    assert cohort.donors == ("d1", "d2")
    assert [sample.sample for sample in cohort.samples_of("d2")] == ["s1", "s3"]
    first, second, _ = cohort.samples
    assert (first.path, first.image) == (study / "first", study / "slide.png")
    assert first.annotation == study / "labels.csv"
    assert dict(first.extra) == {"region": "cortex"}
    assert (first.row, second.row) == (2, 3)
    assert (second.image, second.annotation) == (None, None)


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_tolerated(study: Path) -> None:
    sheet = study / "samples.csv"
    sheet.write_bytes("\ufeffsample, donor ,path\r\ns1,d1, first \r\n\r\n,,\r\ns2,d1,second\r\n".encode())
    cohort = read_sample_sheet(sheet)
    assert [(sample.sample, sample.row) for sample in cohort.samples] == [("s1", 2), ("s2", 5)]
    assert cohort.samples[0].path == study / "first"


def test_a_sample_can_be_sent_to_another_process_and_hashed(study: Path) -> None:
    sample = read_sample_sheet(write_sheet(study / "samples.csv", [row(region="cortex")])).samples[0]
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert len({sample, sample}) == 1


def test_a_folder_above_outs_is_accepted(study: Path) -> None:
    write_spaceranger_section(study / "run" / "outs", random_counts(5, 4))
    assert read_sample_sheet(write_sheet(study / "samples.csv", [row(path="run")])).samples


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        (b"", "samples.csv", "is empty"),
        (b"sample,donor,path\n", "samples.csv", "has a header but no rows"),
        (b"sample,path\ns1,first\n", "samples.csv, row 1", "misses the column donor"),
        (b"path\nfirst\n", "samples.csv, row 1", "misses the columns sample, donor"),
        (b"sample,donor,donor,path\ns1,d,d,first\n", "samples.csv, row 1", "has the column 'donor' twice"),
        (b"sample;donor;path\ns1;d1;first\n", "samples.csv, row 1", "misses the columns sample, donor, path"),
        (b"sample,donor,path\ns1,d1,first,x\n", "samples.csv, row 2", "has 4 cells"),
        (b"sample,donor,path\ns1,d1,first\ns2,d1\n", "samples.csv, row 3", "has 2 cells"),
        (b'sample,donor,path\ns1,d1,"first\n', "samples.csv, row 2", "is not valid CSV"),
        ("sample,donor,path\ns\xe91,d1,first\n".encode("latin-1"), "samples.csv", "is not UTF-8 text"),
    ],
)
def test_a_malformed_sheet_is_refused_where_the_fault_stands(
    study: Path, text: bytes, where: str, problem: str
) -> None:
    (study / "samples.csv").write_bytes(text)
    with pytest.raises(SampleSheetError) as caught:
        read_sample_sheet(study / "samples.csv")
    assert caught.value.where == str(study / where)
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("header", "remedy"),
    [
        ("sample;donor;path", "its cells are separated by semicolons: save it as CSV with commas"),
        ("sample\tdonor\tpath", "its cells are separated by tabs: save it as CSV with commas"),
        ("Sample,Donor,Path", "write the names of columns in lower case"),
        ("sample,donor", ""),
    ],
)
def test_a_header_that_a_spreadsheet_wrote_otherwise_says_what_to_do(study: Path, header: str, remedy: str) -> None:
    (study / "samples.csv").write_text(f"{header}\n")
    with pytest.raises(SampleSheetError) as caught:
        read_sample_sheet(study / "samples.csv")
    assert caught.value.remedy == remedy


def test_columns_that_nothing_reads_are_named_with_what_they_resemble(study: Path) -> None:
    sheet = write_sheet(study / "samples.csv", [row(age="61", imgae="slide.png", condition="treated")])
    assert read_sample_sheet(sheet).unread_columns == ("age", "imgae (image?)")


def test_a_missing_sheet_and_a_folder_are_refused(study: Path) -> None:
    with pytest.raises(SampleSheetError, match=r"none\.csv: does not exist"):
        read_sample_sheet(study / "none.csv")
    with pytest.raises(SampleSheetError, match="is a folder"):
        read_sample_sheet(study)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a..b", "-a", "a b", "é", "x" * 65])
@pytest.mark.parametrize("column", ["sample", "donor"])
def test_an_empty_or_unsafe_name_is_refused(study: Path, column: str, name: str) -> None:
    error = fault(study, row(), row(**{"sample": "s2", column: name}))
    assert error.where == f"{study / 'samples.csv'}, row 3, {column}"
    assert error.problem == ("is empty" if not name else f"'{name}' is not a safe name")


def test_the_name_that_stands_for_all_donors_is_refused(study: Path) -> None:
    assert fault(study, row(donor="cohort")).where.endswith("row 2, donor")


def test_a_repeated_sample_is_refused_and_the_first_row_named(study: Path) -> None:
    error = fault(study, row("s1"), row("s2"), row("s1", "d2"))
    assert error.where.endswith("row 4, sample")
    assert error.problem == "'s1' stands in row 2 already"


def test_names_that_differ_only_in_case_are_refused(study: Path) -> None:
    assert fault(study, row("s1"), row("S1")).where.endswith("row 3, sample")
    assert fault(study, row("s1", "d1"), row("s2", "D1")).where.endswith("row 3, donor")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("nowhere", "nowhere does not exist"),
        ("slide.png", "slide.png is a file"),
        ("empty", "filtered_feature_bc_matrix.h5 (or the folder filtered_feature_bc_matrix), spatial/tissue"),
    ],
)
def test_a_path_that_holds_no_section_is_refused(study: Path, path: str, problem: str) -> None:
    (study / "empty").mkdir()
    error = fault(study, row(path=path))
    assert error.where.endswith("row 2, path")
    assert problem in error.problem


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix.h5"),
        ("spatial/tissue_positions.csv", "spatial/tissue_positions.csv"),
        ("spatial/scalefactors_json.json", "spatial/scalefactors_json.json"),
    ],
)
def test_half_a_space_ranger_folder_is_refused_with_the_missing_file(study: Path, file: str, named: str) -> None:
    (study / "second" / file).unlink()
    error = fault(study, row(), row("s2", path="second"))
    assert error.where.endswith("row 3, path")
    assert "is not a complete Space Ranger folder" in error.problem
    assert named in error.problem


def test_half_a_matrix_folder_is_refused_with_the_missing_file(study: Path) -> None:
    write_spaceranger_section(study / "mtx", random_counts(5, 4), matrix="mtx_gz")
    (study / "mtx" / "filtered_feature_bc_matrix" / "barcodes.tsv.gz").unlink()
    assert "filtered_feature_bc_matrix/barcodes.tsv.gz missing" in fault(study, row(path="mtx")).problem


def test_bins_that_a_visium_hd_run_lacks_are_refused_with_those_there(study: Path) -> None:
    for name in ("square_002um", "square_008um"):
        (study / "hd" / "outs" / "binned_outputs" / name).mkdir(parents=True)
    error = fault(study, row(path="hd"))
    assert error.where.endswith("row 2, path")
    assert "has no bins square_016um, only square_002um, square_008um" in error.problem
    assert "column bin" in error.remedy
    assert "has no bins square_032um" in fault(study, row(path="hd", bin="32um")).problem
    assert "cannot have bins of 'small'" in fault(study, row(path="hd", bin="small")).problem


def test_bins_and_tables_are_refused_where_there_are_none(study: Path) -> None:
    assert "is no Visium HD folder, so that bin '008um' means nothing" in fault(study, row(bin="008um")).problem
    assert "is no SpatialData store, so that table 'cells' means nothing" in fault(study, row(table="cells")).problem


@pytest.mark.parametrize("column", ["image", "annotation"])
def test_a_missing_image_or_annotation_is_refused(study: Path, column: str) -> None:
    error = fault(study, row(**{column: "lost.csv"}))
    assert error.where.endswith(f"row 2, {column}")
    assert error.problem == f"{study / 'lost.csv'} does not exist"
    assert "is a folder" in fault(study, row(**{column: "first"})).problem


def test_the_first_fault_says_how_many_more_there_are(study: Path) -> None:
    error = fault(study, row("s1"), row("bad name", path="nowhere"), row("s1", "d2"))
    assert error.where.endswith("row 3, sample")
    assert "(and 2 more faults in this sheet)" in error.line


# The text alone


def test_a_sheet_judged_by_its_text_stands_whatever_the_disk_holds(study: Path) -> None:
    rows = [row("s1"), row("s2", path="gone.h5ad"), row("s3", path="second", image="gone.tif", annotation="second")]
    first, second, third = read_sheet_text(write_sheet(study / "samples.csv", rows)).samples
    check_files(first)
    with pytest.raises(InputDataError) as caught:
        check_files(second)
    where = f"{study}/samples.csv, row 3, path: {study}/gone.h5ad does not exist; expected "
    assert caught.value.line.startswith(where)
    assert caught.value.line.endswith("; put it back, or correct the path")
    with pytest.raises(
        InputDataError, match=r"row 4, image: \S+/gone\.tif does not exist; expected a file; put it back"
    ):
        check_files(third)
    (study / "gone.tif").write_bytes(b"")
    with pytest.raises(InputDataError, match=r"row 4, annotation: \S+/second is a folder"):
        check_files(third)


@pytest.mark.parametrize(
    ("cells", "field", "problem"),
    [
        ({"path": ""}, "path", "is empty"),
        ({"path": "a\0b"}, "path", "cannot be a path"),
        ({"image": "a" * 256}, "image", "cannot be a path"),
        ({"annotation": "a/" * 2100 + "b"}, "annotation", "cannot be a path"),
        ({"sample": "a b"}, "sample", "'a b' is not a safe name"),
    ],
)
def test_what_the_text_alone_tells_is_refused_without_a_look_at_files(
    study: Path, cells: dict[str, str], field: str, problem: str
) -> None:
    sheet = write_sheet(study / "samples.csv", [row(**cells)])
    for read in (read_sheet_text, read_sample_sheet):
        with pytest.raises(SampleSheetError) as caught:
            read(sheet)
        assert (caught.value.where, caught.value.problem) == (f"{sheet}, row 2, {field}", problem)


def test_a_place_that_cannot_be_looked_at_is_a_fault_of_its_row(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder that the account may not enter, or a disk of another machine that does not answer."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    (sample,) = read_sheet_text(write_sheet(study / "samples.csv", [row()])).samples
    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(InputDataError, match=r"row 2, path: \S+/first cannot be looked at \(Permission denied\)"):
        check_files(sample)


# Retired samples


@pytest.mark.parametrize("cell", ["yes", "Yes", "TRUE", "1"])
def test_a_retired_sample_takes_no_part_and_its_files_may_be_gone(study: Path, cell: str) -> None:
    rows = [row("s1", "d1", retired=""), row("s2", "d2", "gone", image="gone.tif", retired=cell)]
    cohort = read_sample_sheet(write_sheet(study / "samples.csv", rows))
    assert [sample.sample for sample in cohort.samples] == ["s1"]
    assert cohort.donors == ("d1",)
    assert [(sample.sample, sample.row) for sample in cohort.retired] == [("s2", 3)]
    assert cohort.retired_donors == ("d2",)


def test_a_donor_is_retired_once_all_of_its_samples_are(study: Path) -> None:
    rows = [row("s1", retired="no"), row("s2", path="gone", retired="yes"), row("s3", "d2", "gone", retired="yes")]
    cohort = read_sample_sheet(write_sheet(study / "samples.csv", rows))
    assert [sample.sample for sample in cohort.samples_of("d1")] == ["s1"]
    assert cohort.retired_donors == ("d2",)


def test_what_is_retired_is_said_with_yes_or_no(study: Path) -> None:
    error = fault(study, row("s1", retired="since May"), row("s2", path="second", retired=""))
    assert error.line == f"{study}/samples.csv, row 2, retired: is 'since May'; expected yes, no or an empty cell"


def test_names_of_retired_samples_stay_taken(study: Path) -> None:
    error = fault(study, row("s1"), row("s1", path="gone", retired="yes"))
    assert "row 3, sample: 's1' stands in row 2 already" in error.line


def test_a_sheet_of_retired_samples_alone_is_refused(study: Path) -> None:
    error = fault(study, row("s1", retired="yes"))
    assert error.line == f"{study}/samples.csv: has no sample that is not retired; expected one or more"


def test_a_condition_is_a_cell_of_its_own(study: Path) -> None:
    rows = [row("s1", "d1", condition="treated"), row("s2", "d2", "second", condition="", region="cortex")]
    first, second = read_sample_sheet(write_sheet(study / "samples.csv", rows)).samples
    assert (first.condition, second.condition) == ("treated", "")
    assert "condition" not in second.extra and second.extra["region"] == "cortex"

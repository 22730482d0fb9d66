"""Bad input, through the real program: one clear line that names the place, exit code 2, and nothing lost.

Sheets, readers and settings have tests of their own beside them; here the command and Dagster are held to what they
make of each fault: earlier artifacts verify, other donors go on, and once the input is mended the run completes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study, settings_of_study
from stalign_core.store.store import UNPARTITIONED
from tests.assets import bad_inputs as bad
from tests.assets.bad_inputs import DONOR, OTHER_DONOR, OTHER_SAMPLE, SAMPLE, Files, Spoil, stalign, the_one_error
from tests.assets.spoiled import Place

pytestmark = pytest.mark.slow

Print = pytest.CaptureFixture[str]

QUICK = ("--scopes", "donor", "--variants", "uncorrected")
JOINT = ("--scopes", "cohort", "--variants", "uncorrected")


# A reader fails


BROKEN_SECTIONS: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "h5 that ends its reader": (
        bad.break_tree,
        ("filtered_feature_bc_matrix.h5: ends the process that reads it (signal 11)", "copy it again"),
    ),
    "truncated h5": (bad.truncate_counts, ("filtered_feature_bc_matrix.h5: cannot be read: truncated", "copy the")),
    "fractional counts": (
        bad.alter_counts(bad.set_count(0.5)),
        ("filtered_feature_bc_matrix.h5: 1 of ", "not integers (first: 0.5)", "expected non-negative integers"),
    ),
    "negative counts": (
        bad.alter_counts(bad.set_count(-3)),
        ("filtered_feature_bc_matrix.h5: 1 of ", "negative (first: -3.0)", "give raw counts"),
    ),
    "counts that are no numbers": (bad.alter_counts(bad.set_count(float("nan"))), ("not finite (first: nan)",)),
    "no counts at all": (bad.alter_counts(bad.empty_matrix), (f"{SAMPLE}: sample {SAMPLE} has no count in any",)),
    "no spot on the tissue": (bad.take_off_tissue(0), (f"sample {SAMPLE} has no spot on the tissue", "remove the row")),
    "positions of another section": (
        bad.rename_positions,
        ("tissue_positions.csv: holds none of the", "expected a position for every spot", "the same run"),
    ),
    "positions outside the image": (
        bad.shift_positions,
        (f"{SAMPLE}.tif: ", "spots lie outside the image of", f"positions of sample {SAMPLE}"),
    ),
    "truncated image": (bad.truncate_image, (f"{SAMPLE}.tif: is incomplete", "copy the image again")),
    "a text as image": (bad.replace_image, (f"{SAMPLE}.tif: is not an image", "expected a TIFF")),
    "an annotation of strangers": (
        bad.annotate_strangers,
        (f"{SAMPLE}.csv, row ", "2 of ", f"are not in sample {SAMPLE}", "NNNNNNNNNNNNNNNN-1", "expected barcodes like"),
    ),
}


@pytest.mark.parametrize("fault", BROKEN_SECTIONS)
def test_a_section_that_cannot_be_read_stops_its_donor_with_one_line(place: Place, capsys: Print, fault: str) -> None:
    spoil, words = BROKEN_SECTIONS[fault]
    before = bad.everything_kept(place.study)
    spoil(place.files)
    line = the_one_error(stalign(capsys, "run", place.study, *QUICK))
    for word in words:
        assert word in line
    assert str(place.data.resolve()) in line and ".." not in line
    assert bad.everything_kept(place.study) == before
    place.mend()
    mended = stalign(capsys, "run", place.study, *QUICK)
    assert mended.code == 0
    assert "0 computed" in mended.out
    assert bad.everything_kept(place.study) == before


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(bad.damage_a_tile, "cannot be decoded"), (bad.damage_a_png, "cannot be decoded")],
    ids=["a tile of a TIFF", "pixels of a PNG"],
)
def test_an_image_that_breaks_when_its_pixels_are_decoded_is_named(
    place: Place, capsys: Print, spoil: Spoil, reason: str
) -> None:
    before = bad.everything_kept(place.study)
    spoil(place.files)
    line = the_one_error(stalign(capsys, "run", place.study, *JOINT))
    assert f"{place.files.image}: {reason}" in line and "copy it again" in line
    assert before.items() <= bad.everything_kept(place.study).items()
    place.mend()
    assert stalign(capsys, "run", place.study, *JOINT).code == 0


def test_the_other_donors_are_processed_when_one_cannot_be_read(place: Place, capsys: Print) -> None:
    bad.truncate_counts(Files(place.data, OTHER_SAMPLE))
    set_value(place.study / "study.toml", "input", "min_spots", 40)
    answer = stalign(capsys, "run", place.study, *JOINT)
    assert f"{OTHER_SAMPLE}/filtered_feature_bc_matrix.h5" in the_one_error(answer)
    store = open_study(place.study).store
    settings = {donor: store.current("raw_samples", donor) for donor in (OTHER_DONOR, DONOR)}
    assert {donor: raw and raw.manifest.settings["min_spots"] for donor, raw in settings.items()} == {
        OTHER_DONOR: 50,
        DONOR: 40,
    }
    place.mend()
    assert stalign(capsys, "run", place.study, *JOINT).code == 0


def test_sections_without_a_common_gene_stop_the_cohort_and_name_the_sample(place: Place, capsys: Print) -> None:
    before = bad.everything_kept(place.study)
    bad.alter_counts(bad.rename_genes)(place.files)
    line = the_one_error(stalign(capsys, "run", place.study, *JOINT))
    assert "samples.csv: the samples share no gene" in line and f"sample {SAMPLE}" in line
    assert "expected samples of one species" in line
    assert before.items() <= bad.everything_kept(place.study).items()
    place.mend()
    assert stalign(capsys, "run", place.study, *JOINT).code == 0


# A check fails


def test_a_donor_with_too_few_spots_is_left_out_and_named(place: Place, capsys: Print) -> None:
    before = bad.everything_kept(place.study)
    bad.take_off_tissue(12)(place.files)
    answer = stalign(capsys, "run", place.study, *QUICK)
    reason = f"sample {SAMPLE} has 12 spots, fewer than the 50 of input.min_spots"
    assert answer.code == 3 and not answer.errors
    assert f"donor {DONOR} was left out: {reason}" in answer.out.splitlines()
    told = (place.study / "reports" / "domains_donor_uncorrected.csv").read_text()
    assert OTHER_SAMPLE in told and SAMPLE not in told
    bad.truncate_counts(place.files)
    line = the_one_error(stalign(capsys, "run", place.study, *QUICK))
    assert "truncated" in line, "the verdict on samples that could be read once hides no fault of today"
    place.mend()
    assert stalign(capsys, "run", place.study, *QUICK).code == 0
    assert before.items() <= bad.everything_kept(place.study).items()


def test_no_donor_left_is_an_error_of_one_line(place: Place, capsys: Print) -> None:
    """A section must have more spots than the components it is described by."""
    set_value(place.study / "study.toml", "expression", "n_components", 500)
    for scope in (QUICK, JOINT):
        line = the_one_error(stalign(capsys, "run", place.study, *scope))
        assert "no donor passed its checks" in line and "[input]" in line
        for sample in (OTHER_SAMPLE, SAMPLE):
            assert f"sample {sample} has " in line and "fewer than the 501 of expression.n_components + 1" in line
    set_value(place.study / "study.toml", "expression", "n_components", 8)
    assert stalign(capsys, "run", place.study, *QUICK).code == 0


# The sheet


def _edit_sheet(old: str, new: str) -> Callable[[Place], None]:
    def edit(place: Place) -> None:
        sheet = place.study / "samples.csv"
        assert old in sheet.read_text()
        sheet.write_text(sheet.read_text().replace(old, new))

    return edit


BROKEN_SHEETS: dict[str, tuple[Callable[[Place], None], tuple[str, ...]]] = {
    "missing column": (_edit_sheet("sample,donor,", "sample,patient,"), ("row 1: misses the column donor",)),
    "duplicate column": (_edit_sheet("condition", "donor"), ("row 1: has the column 'donor' twice",)),
    "duplicate sample": (_edit_sheet(f"{SAMPLE},{DONOR}", f"{OTHER_SAMPLE},{DONOR}"), ("row 3, sample: ", "in row 2")),
    "unsafe sample": (_edit_sheet(f"{SAMPLE},{DONOR}", f"../x,{DONOR}"), ("row 3, sample: '../x' is not a safe name",)),
    "unsafe donor": (_edit_sheet(f"{SAMPLE},{DONOR}", f"{SAMPLE},a b"), ("row 3, donor: 'a b' is not a safe name",)),
    "two spellings of a donor": (_edit_sheet(f"{SAMPLE},{DONOR}", f"{SAMPLE},p01"), ("row 3, donor: 'p01' differs",)),
    "no sheet": (lambda place: (place.study / "samples.csv").unlink(), ("does not exist",)),
}


def test_a_sheet_that_cannot_stand_stops_everything_before_it_begins(place: Place, capsys: Print) -> None:
    sheet = (place.study / "samples.csv").read_text()
    before = bad.everything_kept(place.study)
    for fault, (spoil, words) in BROKEN_SHEETS.items():
        spoil(place)
        for command in (["run"], ["run", "--n-domains", "3"], ["status"]):
            line = the_one_error(stalign(capsys, command[0], place.study, *command[1:]))
            for word in ("samples.csv", *words):
                assert word in line, (fault, line)
        place.mend()
        (place.study / "samples.csv").write_text(sheet)
    assert settings_of_study(place.study).domains.n_domains == "annotation"
    assert bad.everything_kept(place.study) == before
    assert "0 computed" in stalign(capsys, "run", place.study, *QUICK).out


# Files that are not there


def _path_is_a_file(place: Place) -> None:
    shutil.rmtree(place.files.section)
    place.files.section.write_text("no folder")


ABSENT_FILES: dict[str, tuple[Callable[[Place], None], tuple[str, ...]]] = {
    "missing path": (lambda place: shutil.rmtree(place.files.section), ("row 3, path: ", "does not exist")),
    "a file as path": (_path_is_a_file, ("row 3, path: ", "is a file", "expected a Space Ranger folder")),
    "half a folder": (
        lambda place: place.files.positions.unlink(),
        ("row 3, path: ", "spatial/tissue_positions.csv", "missing", "copy what is missing"),
    ),
    "missing image": (lambda place: place.files.image.unlink(), ("row 3, image: ", "does not exist")),
    "missing annotation": (lambda place: place.files.annotation.unlink(), ("row 3, annotation: ", "does not exist")),
}


def test_files_that_are_not_there_are_told_of_their_donor_alone(place: Place, capsys: Print) -> None:
    for fault, (spoil, words) in ABSENT_FILES.items():
        spoil(place)
        answer = stalign(capsys, "status", place.study)
        assert answer.code == 0, (fault, answer.err)
        plans = answer.out.split("\ndonor ")
        (line,) = (line for line in plans[1].splitlines() if "raw_samples: " in line)
        for word in ("samples.csv, ", *words):
            assert word in line, (fault, line)
        assert plans[0].startswith(f"donor {OTHER_DONOR}: ") and "\n" not in plans[0], fault
        place.mend()


def test_a_donor_whose_files_are_gone_is_left_out_and_comes_back_for_nothing(place: Place, capsys: Print) -> None:
    domains = "cohort/uncorrected/domains"
    shutil.rmtree(place.files.section)
    answer = stalign(capsys, "run", place.study, *JOINT)
    line = the_one_error(answer).removeprefix("error: ")
    assert f"samples.csv, row 3, path: {place.files.section} does not exist" in line and "put it back" in line
    assert f"donor {DONOR} was left out: {line}" in answer.out.splitlines()
    found = open_study(place.study).store.current(domains, UNPARTITIONED)
    assert found is not None and found.manifest.donors == (OTHER_DONOR,)
    assert found.manifest.donors_left_out == {DONOR: line}

    folder = place.study
    for words in (
        ("status", folder),
        ("doctor", folder),
        ("release", "list", folder),
        ("gc", folder, "--dry-run"),
        ("audit", folder, "--verify"),
    ):
        answer = stalign(capsys, *words)
        assert answer.code == 0, (words, answer.err)
    kept = bad.everything_kept(place.study)
    place.mend()
    answer = stalign(capsys, "run", place.study, *JOINT)
    assert answer.code == 0 and "0 computed" in answer.out
    found = open_study(place.study).store.current(domains, UNPARTITIONED)
    assert found is not None and found.manifest.donors == (OTHER_DONOR, DONOR)
    assert bad.everything_kept(place.study) == kept


def test_commands_that_take_in_new_files_want_all_of_them_there(place: Place, capsys: Print, tmp_path: Path) -> None:
    place.files.annotation.unlink()
    sheet = place.data / "two_donors.csv"
    for words in (("init", tmp_path / "new"), ("map", place.study)):
        line = the_one_error(stalign(capsys, *words, "--samples", sheet))
        assert f"{sheet}, row 3, annotation: {place.files.annotation} does not exist" in line
    assert not (tmp_path / "new").exists()


def test_a_sheet_with_spaces_around_its_columns_makes_a_study(place: Place, capsys: Print, tmp_path: Path) -> None:
    sheet = place.data / "spaced.csv"
    sheet.write_text((place.data / "two_donors.csv").read_text().replace(",", " , "))
    assert stalign(capsys, "init", tmp_path / "spaced" / "study", "--samples", sheet).code == 0


# The settings


BROKEN_SETTINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "unknown key": ("seed = 0", "sed = 0", (", sed: is not a setting", "correct its spelling")),
    "wrong type": ("refine_neighbors = 6", 'refine_neighbors = "6"', ("domains.refine_neighbors: is '6'", "a whole")),
    "even window": ("window = 5", "window = 4", ("aestetik.window: is 4", "expected an odd number from 1 to 9")),
    "unknown encoder": ('encoder = "texture"', 'encoder = "uni"', ("variants.uncorrected.encoder: 'uni'", "texture")),
    "unknown representation": (
        'representation = "pca"',
        'representation = "model"',
        ("variants.uncorrected.representation: 'model'", "add a section [representations.model]"),
    ),
    "scvi of an embedding": (
        '[variants.harmony]\ncorrection = "harmony" # uncorrected, harmony, scanorama, scvi\nrepresentation = "pca"',
        '[representations.model]\nobsm = "X"\n[variants.harmony]\ncorrection = "scvi"\nrepresentation = "model"',
        ("variants.harmony.correction: scvi learns from counts", "expected uncorrected, harmony or scanorama"),
    ),
    "K of a stranger": ('n_domains = "annotation"', "n_domains = {P9 = 3}", ("domains.n_domains.P9: names no donor",)),
    "a newer study": ("study_version = 1", "study_version = 2", ("study_version: is 2", "upgrade stalign")),
    "no TOML": ("[input]", "[input", ("is not valid TOML", "line")),
}


def test_settings_that_cannot_stand_stop_everything_before_it_begins(place: Place, capsys: Print) -> None:
    path = place.study / "study.toml"
    text = path.read_text()
    before = bad.everything_kept(place.study)
    for fault, (old, new, words) in BROKEN_SETTINGS.items():
        assert old in text, fault
        path.write_text(text.replace(old, new))
        for command in (["run"], ["run", "--n-domains", "3"], ["status"], ["metrics"]):
            if command == ["metrics"] and fault == "K of a stranger":
                continue  # no sheet is read to print a table
            line = the_one_error(stalign(capsys, command[0], place.study, *command[1:]))
            for word in ("study.toml", *words):
                assert word in line, (fault, line)
        assert path.read_text() == text.replace(old, new)
    path.write_text(text)
    assert bad.everything_kept(place.study) == before


@pytest.mark.parametrize("n_domains", ["0", "-3", "abc", "2.5", "100000"])
def test_a_k_that_cannot_be_is_refused_and_the_settings_stay(place: Place, capsys: Print, n_domains: str) -> None:
    text = (place.study / "study.toml").read_text()
    line = the_one_error(stalign(capsys, "run", place.study, "--n-domains", n_domains))
    assert "n-domains" in line and n_domains in line and "expected" in line
    assert (place.study / "study.toml").read_text() == text


def test_a_k_above_the_spots_in_the_settings_is_named_when_it_is_met(place: Place, capsys: Print) -> None:
    before = bad.everything_kept(place.study)
    set_value(place.study / "study.toml", "domains", "n_domains", 100_000)
    line = the_one_error(stalign(capsys, "run", place.study, *QUICK, "--donors", DONOR))
    assert "domains.n_domains: is 100000, which " in line and f"of '{DONOR}' cannot be divided into" in line
    assert bad.everything_kept(place.study) == before


def test_more_spots_than_scanoramas_limit_are_refused_and_other_variants_stay(place: Place, capsys: Print) -> None:
    before = bad.everything_kept(place.study)
    settings = place.study / "study.toml"
    settings.write_text(settings.read_text() + '\n[variants.scanorama]\ncorrection = "scanorama"\n')
    text = settings.read_text()
    assert text.count("max_spots = 100000 ") == 1
    settings.write_text(text.replace("max_spots = 100000 ", "max_spots = 10 "))
    answer = stalign(capsys, "run", place.study, "--scopes", "cohort", "--variants", "scanorama")
    assert "scanorama: got " in the_one_error(answer) and "correction.scanorama.max_spots" in the_one_error(answer)
    assert before.items() <= bad.everything_kept(place.study).items()


@pytest.mark.parametrize(
    ("option", "name", "known"),
    [
        ("--variants", "combat", "uncorrected, harmony"),
        ("--donors", "P09", "P01, P02"),
        ("--scopes", "all", "donor, cohort"),
    ],
)
def test_an_unknown_name_is_refused_before_k_is_kept(
    place: Place, capsys: Print, option: str, name: str, known: str
) -> None:
    text = (place.study / "study.toml").read_text()
    line = the_one_error(stalign(capsys, "run", place.study, option, name, "--n-domains", "4"))
    assert line == f"error: {option}: '{name}' is not known; expected some of {known}"
    assert (place.study / "study.toml").read_text() == text


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        ("samples.csv/store", "samples.csv/store: cannot be written (Not a directory)"),
        ("nofs://bucket/study", "study.toml, store: is 'nofs://bucket/study', which cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_opened_is_named(place: Place, capsys: Print, store: str, problem: str) -> None:
    path = place.study / "study.toml"
    path.write_text(path.read_text().replace('store = "store"', f'store = "{store}"'))
    line = the_one_error(stalign(capsys, "run", place.study, *QUICK, "--donors", DONOR))
    assert problem in line and "expected a folder" in line


def test_an_embedding_from_outside_that_is_missing_is_named(place: Place, capsys: Print) -> None:
    path = place.study / "study.toml"
    path.write_text(
        path.read_text()
        + '\n[representations.model]\nobsm = "X_model"\nfile = "{sample}.h5ad"\n'
        + '[variants.outside]\ncorrection = "uncorrected"\nrepresentation = "model"\n'
    )
    path.write_text(path.read_text().replace("[representations]\n", "", 1))
    words = ("--scopes", "donor", "--variants", "outside", "--donors", DONOR)
    line = the_one_error(stalign(capsys, "run", place.study, *words))
    assert f"{place.study / SAMPLE}.h5ad: does not exist" in line
    assert "the embedding 'X_model' of sample" in line and "representations.<name>.file" in line


# The folder


@pytest.mark.parametrize(
    "words", [("run",), ("run", "--n-domains", "4"), ("status",), ("metrics",), ("ui",)], ids=" ".join
)
def test_a_folder_that_is_no_study_is_refused(tmp_path: Path, capsys: Print, words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    for folder, problem in ((tmp_path / "empty", "holds no study.toml"), (tmp_path / "none", "is not a folder")):
        line = the_one_error(stalign(capsys, words[0], folder, *words[1:]))
        assert line == f"error: {folder}: {problem}; make a study with 'stalign init STUDY --samples CSV'"
    assert not (tmp_path / "none").exists()


def test_init_leaves_an_existing_study_as_it_is(place: Place) -> None:
    """As a program of its own, for the exit code and the streams are the system's here."""
    before = {path.name: path.read_bytes() for path in place.study.iterdir() if path.is_file()}
    command = [sys.executable, "-m", "stalign_assets.cli.main", "init", str(place.study), "--samples"]
    done = subprocess.run([*command, place.data / "samples.csv"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {place.study}: is a study already;")
    assert done.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in place.study.iterdir() if path.is_file()} == before


def test_init_names_the_columns_that_nothing_reads(place: Place, capsys: Print) -> None:
    sheet = place.data / "two_donors.csv"
    sheet.write_text(sheet.read_text().replace("annotation", "anotation"))
    made = stalign(capsys, "init", place.data / "new", "--samples", sheet)
    assert made.code == 0
    assert "columns that are kept, but not read: anotation (annotation?)" in made.out


def test_init_refuses_a_bad_sheet_and_a_bad_place_and_makes_nothing(place: Place, capsys: Print) -> None:
    sheet = place.data / "two_donors.csv"
    (place.data / "file").write_text("")
    for folder, problem in (
        (place.data / "file", "is a file; expected a folder"),
        (place.data / "file" / "study", "cannot be written"),
    ):
        line = the_one_error(stalign(capsys, "init", folder, "--samples", sheet))
        assert line.startswith(f"error: {folder}: {problem}")
    sheet.write_text(sheet.read_text().replace(SAMPLE, OTHER_SAMPLE))
    line = the_one_error(stalign(capsys, "init", place.data / "new", "--samples", sheet))
    assert "row 3, sample: " in line
    assert not (place.data / "new").exists()

"""`stalign init` from a public data set that was downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stalign_assets.cli.main import cli
from stalign_assets.study import settings_of_study
from stalign_core.cohort import read_sample_sheet
from stalign_core.domains import distinct_labels
from stalign_core.errors import InputDataError, StudyError


def test_a_study_is_made_of_a_downloaded_data_set_by_one_command(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name in ("LC1", "LC2", "LC3", "LC4", "LC5"):
        (downloads / f"{name}.h5ad").touch()
    words = ["init", str(tmp_path / "study"), "--dataset", "usz_lung", "--folder", str(downloads)]
    said = CliRunner().invoke(cli, words, standalone_mode=False)
    assert said.exception is None and "4 samples of 4 donors" in said.output
    cohort = read_sample_sheet(tmp_path / "study" / "samples.csv")
    assert [sample.path.resolve() for sample in cohort.samples] == [
        downloads.resolve() / f"LC{number}.h5ad" for number in (1, 2, 3, 5)
    ]


def test_spots_of_no_tissue_and_the_papers_task_are_in_the_settings_of_its_study(tmp_path: Path) -> None:
    for name in ("LC1", "LC2", "LC3", "LC5"):
        (tmp_path / f"{name}.h5ad").touch()
    words = ["init", str(tmp_path / "study"), "--dataset", "usz_lung", "--folder", str(tmp_path)]
    assert CliRunner().invoke(cli, words, standalone_mode=False).exception is None
    settings = settings_of_study(tmp_path / "study")
    labels = ["TLS", "INFL", "TUM", "NOR", "LN", "UNASSIGNED", "undetermined"]
    assert distinct_labels(labels, settings.domains.ignored_labels) == ["INFL", "LN", "NOR", "TLS", "TUM"]
    assert settings.benchmark.tasks == ("multi_donor",)


def test_what_fails_leaves_no_sheet_and_a_second_study_of_the_folder_is_made(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name in ("LC1", "LC2", "LC3", "LC5"):
        (downloads / f"{name}.h5ad").touch()
    options = ["--dataset", "usz_lung", "--folder", str(downloads)]
    (tmp_path / "file").touch()
    failed = CliRunner().invoke(cli, ["init", str(tmp_path / "file"), *options], standalone_mode=False)
    assert isinstance(failed.exception, StudyError) and not (downloads / "samples.csv").exists()
    for name in ("one", "two"):
        said = CliRunner().invoke(cli, ["init", str(tmp_path / name), "--quiet", *options], standalone_mode=False)
        assert said.exception is None and (tmp_path / name / "study.toml").is_file()
        assert " ".join(said.output.split()) == (
            "warning: no labels for LC1, LC2, LC3, LC5: 'stalign benchmark' needs labels"
        )


def test_an_unknown_data_set_and_a_folder_that_is_none_are_said(tmp_path: Path) -> None:
    for words, said in (
        (["--dataset", "brain", "--folder", str(tmp_path)], "one of libd"),
        (["--dataset", "libd", "--folder", str(tmp_path / "none")], "is no folder"),
    ):
        found = CliRunner().invoke(cli, ["init", str(tmp_path / "study"), *words], standalone_mode=False)
        assert isinstance(found.exception, InputDataError) and said in found.exception.line


@pytest.mark.parametrize(
    "words",
    [[], ["--dataset", "libd"], ["--folder", "x"], ["--samples", "a.csv", "--dataset", "libd", "--folder", "x"]],
)
def test_a_sheet_and_a_data_set_exclude_each_other(tmp_path: Path, words: list[str]) -> None:
    said = CliRunner().invoke(cli, ["init", str(tmp_path / "study"), *words])
    assert said.exit_code == 2 and "--samples" in said.output
    assert not (tmp_path / "study").exists()

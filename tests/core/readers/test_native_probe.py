"""Files that lead HDF5 in circles or end the process are found before they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_core.errors import InputDataError
from stalign_core.readers.native_probe import check_native_files
from tests.broken_hdf5 import write_circular, write_deadly
from tests.builders import random_counts, write_h5ad_section, write_spaceranger_section


def test_a_file_that_leads_in_circles_is_named(tmp_path: Path) -> None:
    whole = write_h5ad_section(tmp_path / "whole.h5ad", random_counts(6, 4))
    circular = write_circular(tmp_path / "circular.h5")
    with pytest.raises(InputDataError) as error:
        check_native_files([whole, circular, tmp_path / "absent.h5"], least_seconds=5)
    assert error.value.line == (
        f"{circular}: keeps its reader for more than 5 seconds; expected a whole file; "
        "it is damaged: copy it again from where it was made"
    )


def test_a_file_that_ends_its_reader_is_named(tmp_path: Path) -> None:
    deadly = write_deadly(tmp_path / "deadly.h5ad")
    with pytest.raises(InputDataError) as error:
        check_native_files([deadly])
    assert error.value.where == str(deadly)
    assert error.value.problem == "ends the process that reads it (signal 11)"


def test_a_file_whose_name_tells_nothing_is_known_by_its_beginning(tmp_path: Path) -> None:
    stored = write_deadly(tmp_path / "0a1b2c")
    link = tmp_path / "x.h5ad"
    link.symlink_to(stored)
    with pytest.raises(InputDataError, match="ends the process that reads it"):
        check_native_files([link.resolve()])


def test_whole_files_pass_and_what_their_readers_tell_better_is_left_to_them(tmp_path: Path) -> None:
    for positions, matrix in (("v1", "h5_v2"), ("parquet", "h5_v3")):
        section = tmp_path / matrix
        write_spaceranger_section(section, random_counts(6, 4), positions=positions, matrix=matrix)
        check_native_files([path for path in section.rglob("*") if path.is_file()])
    broken = tmp_path / "cut.h5"
    broken.write_bytes((tmp_path / "h5_v3" / "filtered_feature_bc_matrix.h5").read_bytes()[:700])
    check_native_files([broken, tmp_path])


def test_a_look_that_cannot_begin_is_not_taken_for_one_that_found_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_h5ad_section(tmp_path / "whole.h5ad", random_counts(6, 4))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="cannot be looked through"):
        check_native_files([whole])

"""Files are replaced whole, or stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_core.files import replace_file, replace_folder, replacing


def test_text_and_bytes_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    replace_file(path, "µ\n")
    assert path.read_bytes() == "µ\n".encode()
    replace_file(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path], "no draft stays behind"


def test_writing_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "old")
    with pytest.raises(RuntimeError, match="full"), replacing(path) as draft:
        draft.write_text("half")
        raise RuntimeError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name, text in (("place", "old"), ("draft", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    replace_folder(tmp_path / "draft", tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place" / "file").read_text() == "new"


def test_a_folder_stays_where_its_successor_cannot_come(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "file").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "no draft", tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place" / "file").read_text() == "old"

"""Files are replaced whole, or stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_core.files import replace_file, replacing


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

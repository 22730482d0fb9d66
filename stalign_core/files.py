"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; what was written there takes its place at once, synced, unless writing failed.

    A reader sees the old file or the new, never a part, and writers at the same moment do not meet. The folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, in one step as `replacing` does."""
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def replace_folder(draft: Path, path: Path) -> None:
    """Put a folder that is whole in the place of `path`, which is moved aside meanwhile and put back if that fails."""
    earlier = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    had_one = path.exists()
    if had_one:
        path.rename(earlier)
    try:
        draft.rename(path)
    except OSError:
        if had_one:
            earlier.rename(path)
        raise
    shutil.rmtree(earlier, ignore_errors=True)

"""Published files under the names that a reader expects, and whether they are what was published."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from stalign_core.datasets.files import RemoteFile
from stalign_core.errors import InputDataError
from stalign_core.files import replace_file
from stalign_core.store.hashing import file_sha256

ARRANGED: Final = "arranged"


def check_published(folder: Path, file: RemoteFile) -> None:
    """Refuse a file whose content is not the published one, as far as its checksum is known.

    Raises
    ------
    InputDataError
        Naming the file.
    """
    if file.sha256 and file_sha256(folder / file.name) != file.sha256:
        raise InputDataError(
            str(folder / file.name),
            "is not the file that was published: its SHA-256 differs",
            expected=file.sha256,
            remedy=f"download it again from {file.url}, or give a sheet of your own as --samples",
        )


def place(source: Path, target: Path) -> None:
    """Let `target` be `source`: by a relative link, or a copy where the disk knows no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(os.path.relpath(source, target.parent))
    except OSError:
        shutil.copyfile(source, target)


def write_labels(target: Path, labels: Iterable[tuple[str, str]]) -> None:
    """Write barcodes and labels as an annotation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["barcode", "label"])
    writer.writerows(labels)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, text.getvalue())

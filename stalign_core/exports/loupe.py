"""Domains of a section for 10x Genomics' Loupe Browser: *Import categories* takes the CSV."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from stalign_core import keys
from stalign_core.exports.section import ExportSection


def write_loupe(path: Path, section: ExportSection) -> int:
    """Write ``Barcode,domain`` rows in the order of the section's input; returns how many.

    Barcodes are those of the section's own Space Ranger run, to whose .cloupe file the CSV belongs.
    """
    table = section.obs[[keys.BARCODE, keys.DOMAIN]].set_axis(["Barcode", keys.DOMAIN], axis="columns")
    replace_text(path, table.to_csv(index=False, lineterminator="\n"))
    return len(table)


def replace_text(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

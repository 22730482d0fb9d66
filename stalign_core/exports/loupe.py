"""Domains of a section for 10x Genomics' Loupe Browser: *Import categories* takes the CSV."""

from __future__ import annotations

from pathlib import Path

from stalign_core import keys
from stalign_core.exports.section import ExportSection
from stalign_core.files import replace_file


def write_loupe(path: Path, section: ExportSection) -> int:
    """Write ``Barcode,domain`` rows in the order of the section's input; returns how many.

    Barcodes are those of the section's own Space Ranger run, to whose .cloupe file the CSV belongs.
    """
    table = section.obs[[keys.BARCODE, keys.DOMAIN]].set_axis(["Barcode", keys.DOMAIN], axis="columns")
    replace_file(path, table.to_csv(index=False, lineterminator="\n"))
    return len(table)

"""Ways to spoil a section on disk, and a look at what a command says of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pytest

from stalign_assets.cli.main import main
from stalign_assets.study import open_study
from tests.broken_hdf5 import write_deadly

SAMPLE = "P02_S1"
DONOR = "P02"
OTHER_SAMPLE = "P01_S1"
OTHER_DONOR = "P01"


@dataclass(frozen=True)
class Files:
    """The raw files of the section that is spoiled."""

    data: Path
    sample: str = SAMPLE

    @property
    def section(self) -> Path:
        """Its Space Ranger folder."""
        return self.data / self.sample

    @property
    def counts(self) -> Path:
        """Its count matrix."""
        return self.section / "filtered_feature_bc_matrix.h5"

    @property
    def positions(self) -> Path:
        """Its spot positions."""
        return self.section / "spatial" / "tissue_positions.csv"

    @property
    def image(self) -> Path:
        """Its full-resolution image."""
        return self.data / "images" / f"{self.sample}.tif"

    @property
    def annotation(self) -> Path:
        """Its labels."""
        return self.data / "annotations" / f"{self.sample}.csv"


Spoil = Callable[[Files], None]


@dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines that tell an error, wherever they were printed."""
        return [line for line in (self.out + self.err).splitlines() if line.startswith("error:")]


def stalign(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Answer:
    """Run the command in this process."""
    capsys.readouterr()
    code: object = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert isinstance(code, int)
    return Answer(code, printed.out, printed.err)


def the_one_error(answer: Answer, code: int = 2) -> str:
    """The line of a refusal: the only one, without a traceback, with the exit code that goes with it."""
    everything = answer.out + answer.err
    assert answer.code == code, everything
    assert "Traceback" not in everything
    assert len(answer.errors) == 1, everything
    return answer.errors[0]


def everything_kept(folder: Path) -> dict[tuple[str, str, str], str]:
    """Every artifact of a study by asset, partition and input key, each of them verified; with its data version."""
    found = {}
    for artifact in open_study(folder).store.artifacts():
        artifact.verify()
        manifest = artifact.manifest
        found[manifest.asset, manifest.partition, manifest.input_key] = manifest.data_version
    return found


# counts


def truncate_counts(files: Files) -> None:
    """End the matrix in its middle, as a broken copy does."""
    payload = files.counts.read_bytes()
    files.counts.write_bytes(payload[: len(payload) // 2])


def break_tree(files: Files) -> None:
    """Make the matrix a file that HDF5 follows to the end of the stack."""
    write_deadly(files.counts)


def alter_counts(change: Callable[[h5py.Group], None]) -> Spoil:
    """Change the matrix in place."""

    def spoil(files: Files) -> None:
        with h5py.File(files.counts, "r+") as file:
            change(file["matrix"])

    return spoil


def set_count(value: float) -> Callable[[h5py.Group], None]:
    """Make the third stored count something else."""

    def change(matrix: h5py.Group) -> None:
        values = matrix["data"][:].astype(np.float64)
        values[2] = value
        del matrix["data"]
        matrix["data"] = values

    return change


def rename_genes(matrix: h5py.Group) -> None:
    """Give the section genes that no other section has."""
    n_genes = len(matrix["features/id"])
    del matrix["features/id"]
    matrix["features/id"] = np.array([f"ENSG{number + 90_000_000:011d}".encode() for number in range(n_genes)])


def empty_matrix(matrix: h5py.Group) -> None:
    """Leave barcodes and genes, and no count."""
    n_spots = len(matrix["barcodes"])
    for name, dtype in (("data", np.int32), ("indices", np.int64)):
        del matrix[name]
        matrix[name] = np.zeros(0, dtype)
    del matrix["indptr"]
    matrix["indptr"] = np.zeros(n_spots + 1, np.int64)


# positions


def edit_rows(path: Path, change: Callable[[dict[str, str], int], None]) -> None:
    """Change the rows of a CSV one by one; `change` gets each row and its number from 0."""
    rows = list(csv.DictReader(StringIO(path.read_text())))
    for number, row in enumerate(rows):
        change(row, number)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def rename_positions(files: Files) -> None:
    """Give the positions another section's barcodes."""
    edit_rows(files.positions, lambda row, _: row.update(barcode=row["barcode"][::-1]))


def take_off_tissue(n_kept: int) -> Spoil:
    """Leave `n_kept` spots on the tissue."""

    def spoil(files: Files) -> None:
        on_tissue = iter(range(10**6))

        def change(row: dict[str, str], _: int) -> None:
            if row["in_tissue"] == "1" and next(on_tissue) >= n_kept:
                row["in_tissue"] = "0"

        edit_rows(files.positions, change)

    return spoil


def shift_positions(files: Files) -> None:
    """Move all spots off the image."""

    def change(row: dict[str, str], _: int) -> None:
        row["pxl_col_in_fullres"] = str(int(row["pxl_col_in_fullres"]) + 5000)

    edit_rows(files.positions, change)


# image


def truncate_image(files: Files) -> None:
    """End the image in its middle."""
    payload = files.image.read_bytes()
    files.image.write_bytes(payload[: len(payload) // 2])


def replace_image(files: Files) -> None:
    """Put a text where the image was."""
    files.image.write_text("not an image\n" * 100)


def damage_a_tile(files: Files) -> None:
    """Overwrite the second tile: the header and every other tile stay whole."""
    import tifffile

    with tifffile.TiffFile(files.image) as file:
        page = file.pages.first
        start, size = page.dataoffsets[1], page.databytecounts[1]
    with files.image.open("r+b") as stream:
        stream.seek(start)
        stream.write(bytes(size))


def damage_a_png(files: Files) -> None:
    """Put a PNG of the same size in the image's place and overwrite a stretch of its pixels."""
    import tifffile
    from PIL import Image

    Image.fromarray(tifffile.imread(files.image)).save(files.image, format="PNG")
    payload = bytearray(files.image.read_bytes())
    middle = len(payload) // 2
    payload[middle : middle + 400] = bytes(400)
    files.image.write_bytes(payload)


# annotation


def annotate_strangers(files: Files) -> None:
    """Name two barcodes that the section does not have."""
    with files.annotation.open("a") as stream:
        stream.write("NNNNNNNNNNNNNNNN-1,Islet\nNNNNNNNNNNNNNNNN-2,Islet\n")

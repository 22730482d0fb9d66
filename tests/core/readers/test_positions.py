"""Positions of every form say the same; barcodes are matched; lattices are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stalign_core.errors import InputDataError
from stalign_core.readers.barcodes import match_barcodes
from stalign_core.readers.lattice import estimate_spot_diameter, lattice_of
from stalign_core.readers.positions import read_positions
from tests.builders import (
    SPOT_PITCH,
    PositionsForm,
    hexagonal_lattice,
    random_counts,
    square_lattice,
    visium_barcodes,
    write_spaceranger_section,
)

HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"


def texts(*values: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array(values, dtype=object)


@pytest.mark.parametrize("form", ["v1", "v2", "parquet"])
def test_every_form_gives_the_positions_that_were_written(tmp_path: Path, form: PositionsForm) -> None:
    lattice = hexagonal_lattice(2, 3)
    in_tissue = [1, 0, 1, 1, 0, 1]
    folder = write_spaceranger_section(
        tmp_path, random_counts(6, 2), lattice=lattice, in_tissue=in_tissue, positions=form
    )
    (path,) = (folder / "spatial").glob("tissue_positions*")
    positions = read_positions(path)
    assert positions.barcodes.tolist() == visium_barcodes(6)
    assert positions.in_tissue.tolist() == [bool(flag) for flag in in_tissue]
    np.testing.assert_array_equal(positions.array, np.column_stack([lattice.array_row, lattice.array_col]))
    np.testing.assert_allclose(positions.spatial, lattice.spatial)


@pytest.mark.parametrize("name", ["tissue_positions.csv", "tissue_positions_list.csv"])
@pytest.mark.parametrize("header", ["", HEADER + "\n"])
def test_the_content_and_not_the_name_tells_of_a_header(tmp_path: Path, name: str, header: str) -> None:
    path = tmp_path / name
    path.write_text(header + "AA-1,1,0,4,10,20\nCC-1,0,1,5,30,40.5\n")
    positions = read_positions(path)
    assert positions.barcodes.tolist() == ["AA-1", "CC-1"]
    assert positions.spatial.tolist() == [[20, 10], [40.5, 30]]
    assert positions.array.tolist() == [[0, 4], [1, 5]]


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "tissue_positions.csv"
    path.write_text("in_tissue,barcode,pxl_col_in_fullres,pxl_row_in_fullres,array_col,array_row\n1,AA-1,20,10,4,0\n")
    positions = read_positions(path)
    assert positions.spatial.tolist() == [[20, 10]]
    assert positions.array.tolist() == [[0, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("AA-1,1,0\n", "cannot be read.*3 columns"),
        (HEADER.replace("array_row", "row") + "\nAA-1,1,0,4,10,20\n", "misses the columns array_row"),
        ("AA-1,1,0,4,10,20\nAA-1,1,1,5,10,20\n", r"1 barcodes more than once \(first: AA-1\)"),
        (
            "AA-1,1,0,4,10,20\nCC-1,1,1,5,10,far\n",
            "pxl_col_in_fullres: 1 values are no numbers .*'far' of barcode CC-1",
        ),
        ("AA-1,1,0,4,10,inf\n", "1 values are no numbers"),
        ("AA-1,1,0,4.5,10,20\n", "array_col: 1 values are no integers"),
    ],
)
def test_positions_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tissue_positions.csv"
    path.write_text(text)
    with pytest.raises(InputDataError, match=message) as caught:
        read_positions(path)
    assert caught.value.where.startswith(str(path))


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        (["AA-1", "CC-1"], ["CC-1", "GG-1", "AA-1"]),
        (["s1_AA-1", "s1_CC-1"], ["CC-1", "GG-1", "AA-1"]),
        (["AA-1", "CC-1"], ["s1_CC-1", "s1_GG-1", "s1_AA-1"]),
        (["AA", "CC"], ["CC-1", "GG-1", "AA-1"]),
        (["AA.1", "CC.1"], ["CC-1", "GG-1", "AA-1"]),
        (["AA-2", "CC-2"], ["CC-1", "GG-1", "AA-1"]),
        (["s1_AA-2", "s1_CC-2"], ["CC", "GG", "AA"]),
    ],
)
def test_barcodes_match_across_prefix_and_suffix(wanted: list[str], known: list[str]) -> None:
    assert match_barcodes(texts(*wanted), texts(*known), "s1").tolist() == [2, 0]


def test_suffixes_that_tell_spots_apart_are_kept() -> None:
    found = match_barcodes(texts("AA-1", "AA-2"), texts("AA-2", "AA-3", "AA-1"), "s1")
    assert found.tolist() == [2, 0]
    assert match_barcodes(texts("AA-9"), texts("AA-1", "AA-2"), "s1").tolist() == [-1]


def test_a_sample_name_is_taken_literally_and_only_in_front() -> None:
    assert match_barcodes(texts("sx1_AA"), texts("AA"), "s.1").tolist() == [-1]
    assert match_barcodes(texts("AA_s1_"), texts("AA_"), "s1").tolist() == [-1]


def test_what_matches_nowhere_is_marked() -> None:
    assert match_barcodes(texts("AA-1", "TT-1"), texts("AA-1"), "s1").tolist() == [0, -1]
    assert match_barcodes(texts("AA-1"), texts(), "s1").tolist() == [-1]


def test_lattices_are_told_by_the_parity_of_row_and_column() -> None:
    hexagonal, square = hexagonal_lattice(4, 4), square_lattice(4, 4)
    stack = {
        "hexagonal": np.column_stack([hexagonal.array_row, hexagonal.array_col]).astype(np.int32),
        "square": np.column_stack([square.array_row, square.array_col]).astype(np.int32),
    }
    for kind, array in stack.items():
        assert lattice_of(array) == kind
    assert lattice_of(np.zeros((2, 2), np.int32)) == "irregular"
    assert lattice_of(None) == "irregular"


def test_spot_diameter_follows_from_the_pitch() -> None:
    assert estimate_spot_diameter(hexagonal_lattice(5, 5).spatial, "hexagonal") == pytest.approx(0.55 * SPOT_PITCH)
    assert estimate_spot_diameter(square_lattice(5, 5).spatial, "square") == pytest.approx(0.5 * SPOT_PITCH)

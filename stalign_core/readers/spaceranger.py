"""Space Ranger output folders, versions 1 to 4, Visium HD's bins included."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.barcodes import match_barcodes
from stalign_core.readers.counts import CountTable
from stalign_core.readers.layout import SpaceRangerFiles
from stalign_core.readers.positions import Positions, read_positions
from stalign_core.readers.section import Section
from stalign_core.readers.tenx_matrix import count_barcodes, read_tenx_h5, read_tenx_mtx
from stalign_core.wording import counted, have

MAX_SPOTS = 2_000_000
"""Most spots of a sample: three times the 8 um bins of a full Visium HD slide, a fifth of its 2 um bins."""


@dataclass(frozen=True)
class ScaleFactors:
    """``scalefactors_json.json``: a spot's diameter in full-resolution pixels, picture pixels per full-resolution
    pixel (None where the file does not give them), and the side of a bin in micrometres (None but for Visium HD)."""

    spot_diameter: float
    hires: float | None
    lowres: float | None
    bin_size: float | None = None


def read_scale_factors(path: Path) -> ScaleFactors:
    """Read ``scalefactors_json.json``.

    Raises
    ------
    InputDataError
        If it is no JSON object, lacks the spot diameter, or holds a number that is no positive length or scale.
    """
    try:
        factors = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputDataError(
            str(path), f"cannot be read ({error})", expected="the JSON file that Space Ranger writes"
        ) from error
    if not isinstance(factors, dict):
        raise InputDataError(str(path), "holds no JSON object", expected="spot_diameter_fullres and scales")
    diameter = _positive(factors, "spot_diameter_fullres", path)
    bin_size = _positive(factors, "bin_size_um", path)
    microns_per_pixel = _positive(factors, "microns_per_pixel", path)
    if diameter is None and bin_size is not None and microns_per_pixel is not None:
        diameter = bin_size / microns_per_pixel
    if diameter is None:
        raise InputDataError(
            str(path), "misses spot_diameter_fullres", expected="a spot's diameter in full-resolution pixels"
        )
    return ScaleFactors(
        diameter,
        _positive(factors, "tissue_hires_scalef", path),
        _positive(factors, "tissue_lowres_scalef", path),
        bin_size,
    )


def read_spaceranger_section(files: SpaceRangerFiles, sample: str) -> Section:
    """Read counts and positions of a folder and bring them together.

    Raises
    ------
    InputDataError
        If a file is broken, or a barcode of the counts has no position.
    """
    factors = read_scale_factors(files.scale_factors)
    _check_size(files)
    table = _read_counts(files)
    positions = read_positions(files.positions)
    place = _place_spots(table, positions, files, sample)
    on_tissue = np.flatnonzero(positions.in_tissue[place])
    place = place[on_tissue]
    return Section(
        table=table.of_spots(on_tissue, positions.barcodes[place]),
        array=positions.array[place],
        spatial=positions.spatial[place],
        spot_diameter=factors.spot_diameter,
        known_barcodes=positions.barcodes,
        n_spots_off_tissue=int((~positions.in_tissue).sum()),
        warnings=_left_out(positions, place),
        lattice=None if factors.bin_size is None else "square",
    )


def _check_size(files: SpaceRangerFiles) -> None:
    """Refuse bins too small to be taken for spots before their counts fill the memory."""
    n_spots = count_barcodes(files.matrix_files)
    if n_spots > MAX_SPOTS:
        raise InputDataError(
            str(files.matrix),
            f"holds {n_spots:,} bins or spots",
            expected=f"at most {MAX_SPOTS:,} of a sample",
            remedy="take larger bins: name 008um or 016um in the sample sheet's column bin",
        )


def _read_counts(files: SpaceRangerFiles) -> CountTable:
    if len(files.matrix_files) == 1:
        return read_tenx_h5(files.matrix)
    matrix, features, barcodes = files.matrix_files
    return read_tenx_mtx(matrix, features, barcodes)


def _place_spots(table: CountTable, positions: Positions, files: SpaceRangerFiles, sample: str) -> NDArray[np.intp]:
    """Row of the positions of each row of the counts."""
    place = match_barcodes(table.barcodes, positions.barcodes, sample)
    lost = place < 0
    if lost.any():
        how_many = "none" if lost.all() else f"only {int((~lost).sum())}"
        example = table.barcodes[lost.argmax()]
        known = f", whose first is {positions.barcodes[0]}" if len(positions.barcodes) else ", which is empty"
        raise InputDataError(
            str(files.positions),
            f"holds {how_many} of the {len(lost)} barcodes of {files.matrix.name}"
            f" (missing: {example} and {int(lost.sum()) - 1} more{known})",
            expected="a position for every spot with counts",
            remedy="take both from the same run of Space Ranger",
        )
    return place


def _left_out(positions: Positions, place: NDArray[np.intp]) -> tuple[str, ...]:
    n_without_counts = int(positions.in_tissue.sum()) - len(place)
    if n_without_counts == 0:
        return ()
    return (f"{counted(n_without_counts, 'spot')} on the tissue {have(n_without_counts)} no counts and cannot be used",)


def _positive(factors: dict[str, Any], key: str, path: Path) -> float | None:
    value = factors.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputDataError(f"{path}, {key}", f"is {value!r}", expected="a positive number")
    return float(value)

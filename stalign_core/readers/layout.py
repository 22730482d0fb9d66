"""Where the files of a section lie, and whether all of them are there.

Nothing is parsed here but, of a .zarr store, the names of its elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stalign_core.errors import InputDataError
from stalign_core.readers.zarr_layout import ZarrStore, locate_zarr, parts_of_zarr

_MATRIX = "filtered_feature_bc_matrix"
# HD writes Parquet; Space Ranger 2 and later a CSV with a header; version 1 one without. The reader looks at the
# content, so the order only decides where a folder holds several.
_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_SCALE_FACTORS = "scalefactors_json.json"
_BINNED = "binned_outputs"
_SQUARE = re.compile(r"(?:square_)?0*([1-9]\d{0,2})(?:um)?")
DEFAULT_BIN = "016um"
"""Bins that are read of a Visium HD run where the sample sheet names none: with 8 um most bins hold few counts."""
_EXPECTED = "a Space Ranger folder, an .h5ad file or a SpatialData .zarr"


@dataclass(frozen=True)
class SpaceRangerFiles:
    """The files of a Space Ranger folder that stalign reads.

    `matrix` is the .h5 file, or the folder that holds `matrix_files` (matrix, features and barcodes, in this order).
    """

    matrix: Path
    matrix_files: tuple[Path, ...]
    positions: Path
    scale_factors: Path
    hires: Path | None
    lowres: Path | None


@dataclass(frozen=True)
class H5adFile:
    """A section kept in one .h5ad file."""

    path: Path


SectionFiles = SpaceRangerFiles | H5adFile | ZarrStore


def locate_section(path: Path, bin_size: str = "", table: str = "") -> SectionFiles:
    """Find the files of the section at `path`.

    Parameters
    ----------
    path
        A Space Ranger folder (or the one above its ``outs``), an .h5ad, or a SpatialData .zarr.
    bin_size
        Which bins of a Visium HD folder, such as ``008um``; empty: those of `DEFAULT_BIN` micrometres.
    table
        Which table of a .zarr; may be empty where it has one.

    Raises
    ------
    InputDataError
        If there is nothing at `path`, or something else, a part of a folder is missing, the bins or the table are not
        there, or they are named for an input that has none.
    """
    if not path.exists():
        raise InputDataError(str(path), "does not exist", expected=_EXPECTED)
    if path.suffix == ".zarr" and path.is_dir():
        _refuse("bin", bin_size, path)
        return locate_zarr(path, table)
    _refuse("table", table, path)
    if path.suffix == ".h5ad":
        _refuse("bin", bin_size, path)
        if not path.is_file():
            raise InputDataError(str(path), "is a folder", expected="an .h5ad file")
        return H5adFile(path)
    if not path.is_dir():
        raise InputDataError(
            str(path),
            "is a file",
            expected=_EXPECTED,
            remedy=f"name the folder that holds {_MATRIX}.h5 and spatial/",
        )
    outputs = _outputs(path)
    if (outputs / _BINNED).is_dir():
        return _locate_spaceranger(_bin_folder(outputs / _BINNED, bin_size), outputs)
    _check_bin(path, bin_size)
    return _locate_spaceranger(outputs, path.parent.parent if path.parent.name == _BINNED else outputs)


def parts_of_section(path: Path, bin_size: str = "", table: str = "") -> list[Path]:
    """What is there of the section at `path`, be it complete or not: `locate_section` takes files of no other places.

    Of a folder, its count matrices and the files of ``filtered_feature_bc_matrix`` and ``spatial``, not what else lies
    in it or deeper; of a .zarr, folders of the elements and metadata; `path` itself where it is no folder.

    Raises
    ------
    InputDataError
        If `bin_size` names no bins.
    """
    if not path.is_dir():
        return [path]
    if path.suffix == ".zarr":
        return parts_of_zarr(path, table)
    outputs = _outputs(path)
    folders = [outputs]
    if (outputs / _BINNED).is_dir():
        folders.append(outputs / _BINNED / _bin_name(outputs / _BINNED, bin_size or DEFAULT_BIN))
    elif path.parent.name == _BINNED:
        folders.append(path.parent.parent)
    # Programs that copy write beside or into these places, under names that end otherwise.
    patterns = (f"*{_MATRIX}.h5", f"*{_MATRIX}.h5.*", f"{_MATRIX}/*", "spatial/*")
    found = {file for folder in folders for pattern in patterns for file in folder.glob(pattern)}
    return sorted(file for file in found if file.is_file())


def _outputs(path: Path) -> Path:
    """The folder that Space Ranger calls ``outs``."""
    return path if (path / "spatial").is_dir() or not (path / "outs").is_dir() else path / "outs"


def _refuse(column: str, value: str, path: Path) -> None:
    if value:
        what = "Visium HD folder" if column == "bin" else "SpatialData store"
        raise InputDataError(
            str(path), f"is no {what}, so that {column} '{value}' means nothing", remedy=f"leave {column} empty"
        )


def _bin_folder(binned: Path, bin_size: str) -> Path:
    """The folder of the wanted bins."""
    name = _bin_name(binned, bin_size or DEFAULT_BIN)
    if not (binned / name).is_dir():
        there = ", ".join(sorted(folder.name for folder in binned.iterdir() if folder.is_dir())) or "none"
        raise InputDataError(
            str(binned),
            f"has no bins {name}, only {there}",
            expected="the bins that the sample sheet's column bin names, or, where it is empty, " + DEFAULT_BIN,
            remedy="set the column bin, to '008um' for example",
        )
    return binned / name


def _check_bin(path: Path, bin_size: str) -> None:
    """Whether a folder that is not a whole Visium HD run is the one of the bins that are asked for."""
    if not bin_size:
        return
    if _SQUARE.fullmatch(path.name) is None:
        _refuse("bin", bin_size, path)
    name = _bin_name(path, bin_size)
    if name != path.name:
        raise InputDataError(str(path), f"holds other bins than {name}", remedy="leave bin empty, or correct the path")


def _bin_name(where: Path, bin_size: str) -> str:
    found = _SQUARE.fullmatch(bin_size)
    if found is None:
        raise InputDataError(
            str(where), f"cannot have bins of '{bin_size}'", expected="a size in micrometres such as 008um or 16"
        )
    return f"square_{int(found[1]):03d}um"


def _locate_spaceranger(folder: Path, outputs: Path) -> SpaceRangerFiles:
    missing: list[str] = []
    matrix, matrix_files = _locate_matrix(folder, missing)
    spatial = folder / "spatial"
    positions = _first(spatial, _POSITIONS)
    if positions is None:
        missing.append("spatial/tissue_positions.csv (or tissue_positions_list.csv)")
    scale_factors = _first(spatial, (_SCALE_FACTORS,))
    if scale_factors is None:
        missing.append(f"spatial/{_SCALE_FACTORS}")
    if missing or matrix is None or positions is None or scale_factors is None:
        raise InputDataError(
            str(folder),
            "is not a complete Space Ranger folder: " + ", ".join(missing) + " missing",
            expected="the output of Space Ranger 1 to 4",
            remedy="copy what is missing, or correct the path",
        )
    return SpaceRangerFiles(
        matrix,
        matrix_files,
        positions,
        scale_factors,
        # Bins share the run's pictures, which copies of their folders may lack.
        hires=_picture("hires", spatial, outputs),
        lowres=_picture("lowres", spatial, outputs),
    )


def _picture(kind: str, spatial: Path, outputs: Path) -> Path | None:
    names = (f"tissue_{kind}_image.png",)
    return _first(spatial, names) or _first(outputs / "spatial", names)


def _locate_matrix(folder: Path, missing: list[str]) -> tuple[Path | None, tuple[Path, ...]]:
    """The counts: the .h5 before the folder, because it reads ten times faster and holds the same."""
    # Repositories put the sample's name in front of the file's.
    found = sorted(folder.glob(f"*{_MATRIX}.h5"))
    h5 = folder / f"{_MATRIX}.h5"
    if h5 in found or len(found) == 1:
        chosen = h5 if h5 in found else found[0]
        return chosen, (chosen,)
    if len(found) > 1:
        raise InputDataError(
            str(folder),
            f"holds {len(found)} count matrices ({', '.join(path.name for path in found)})",
            expected=f"one {_MATRIX}.h5",
            remedy="give each section a folder of its own",
        )
    matrix = folder / _MATRIX
    if not matrix.is_dir():
        missing.append(f"{_MATRIX}.h5 (or the folder {_MATRIX})")
        return None, ()
    names = (
        ("matrix.mtx.gz", "matrix.mtx"),
        ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv"),
        ("barcodes.tsv.gz", "barcodes.tsv"),
    )
    files = [_first(matrix, alternatives) for alternatives in names]
    missing.extend(
        f"{_MATRIX}/{alternatives[0]}" for alternatives, file in zip(names, files, strict=True) if file is None
    )
    return matrix, tuple(file for file in files if file is not None)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)

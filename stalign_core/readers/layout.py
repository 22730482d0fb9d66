"""Where the files of a section lie, and whether all of them are there. Nothing is parsed here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stalign_core.errors import InputDataError

_MATRIX = "filtered_feature_bc_matrix"
# HD writes Parquet; Space Ranger 2 and later a CSV with a header; version 1 one without. The reader looks at the
# content, so the order only decides where a folder holds several.
_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_SCALE_FACTORS = "scalefactors_json.json"


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


def locate_section(path: Path) -> SpaceRangerFiles | H5adFile:
    """Find the files of the section at `path`: a Space Ranger folder (or the one above its ``outs``), or an .h5ad.

    Raises
    ------
    InputDataError
        If there is nothing at `path`, or something else, or a part of a Space Ranger folder is missing.
    """
    if not path.exists():
        raise InputDataError(str(path), "does not exist", expected="a Space Ranger folder or an .h5ad file")
    if path.suffix == ".h5ad":
        if not path.is_file():
            raise InputDataError(str(path), "is a folder", expected="an .h5ad file")
        return H5adFile(path)
    if not path.is_dir():
        raise InputDataError(
            str(path),
            "is a file",
            expected="a Space Ranger folder or an .h5ad file",
            remedy=f"name the folder that holds {_MATRIX}.h5 and spatial/",
        )
    if path.suffix == ".zarr":
        raise InputDataError(
            str(path),
            "is a .zarr store, which this version does not read",
            expected="a Space Ranger folder or an .h5ad file",
        )
    return _locate_spaceranger(_outputs_folder(path))


def _outputs_folder(path: Path) -> Path:
    if (path / "spatial").is_dir():
        return path
    outputs = path / "outs" if (path / "outs").is_dir() else path
    if (outputs / "binned_outputs").is_dir():
        raise InputDataError(
            str(path),
            "is a Visium HD folder with several bin sizes",
            expected="the folder of one of them",
            remedy=f"name {outputs / 'binned_outputs' / 'square_008um'}, for example",
        )
    return outputs


def _locate_spaceranger(folder: Path) -> SpaceRangerFiles:
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
        hires=_first(spatial, ("tissue_hires_image.png",)),
        lowres=_first(spatial, ("tissue_lowres_image.png",)),
    )


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

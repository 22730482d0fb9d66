"""Which elements of a SpatialData .zarr make a section: its table, the regions that it annotates, its image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stalign_core.errors import InputDataError
from stalign_core.readers.faults import reading

_A_STORE = "a SpatialData .zarr with a table of raw counts"
_METADATA = ("zarr.json", ".zgroup", ".zattrs")


@dataclass(frozen=True)
class ZarrStore:
    """A section kept in a SpatialData .zarr.

    Parameters
    ----------
    path
        The store.
    table
        Name of the table.
    region
        The shapes that are its spots, relative to the store (``shapes/cells``); None where it names none that are
        there.
    """

    path: Path
    table: str
    region: str | None

    @property
    def sources(self) -> list[Path]:
        """Folders of the table and its region, and the store's own metadata."""
        folders = [self.path / "tables" / self.table]
        if self.region is not None:
            folders.append(self.path / self.region)
        return [*folders, *_metadata(self.path)]


def locate_zarr(path: Path, table: str = "") -> ZarrStore:
    """Find the table, by its name unless it is the only one, and the region that it annotates.

    Raises
    ------
    InputDataError
        If the store has no table, not this one, or several of which none is named, or if the table's spots are of
        several regions.
    """
    tables = _elements(path / "tables")
    if not tables:
        raise InputDataError(str(path), "holds no table", expected=_A_STORE)
    if table and table not in tables:
        raise InputDataError(
            str(path),
            f"has no table '{table}', only {', '.join(tables)}",
            remedy="correct the sample sheet's column table",
        )
    if not table and len(tables) > 1:
        raise InputDataError(
            str(path),
            f"holds {len(tables)} tables ({', '.join(tables)})",
            expected="one for the sample",
            remedy="name it in the sample sheet's column table",
        )
    chosen = table or tables[0]
    return ZarrStore(path, chosen, _region(path, chosen))


def parts_of_zarr(path: Path, table: str = "") -> list[Path]:
    """What is there of the elements that can make a section, be the store complete or not, and its own metadata."""
    folders = (path / "tables" / table, path / "shapes", path / "images")
    return [*(folder for folder in folders if folder.is_dir()), *_metadata(path)]


def image_elements(path: Path) -> list[Path]:
    """Folders of the store's images, by name."""
    return [path / "images" / name for name in _elements(path / "images")]


def _region(path: Path, table: str) -> str | None:
    import zarr

    with reading(path / "tables" / table, _A_STORE):
        named: Any = zarr.open_group(path / "tables" / table, mode="r").attrs.get("region")
    regions = [named] if isinstance(named, str) else list(named or ())
    if len(regions) > 1:
        raise InputDataError(
            str(path / "tables" / table),
            f"annotates {len(regions)} regions ({', '.join(map(str, regions))})",
            expected="the spots of one section",
            remedy="write a table for each of them",
        )
    place = f"shapes/{regions[0]}" if regions else ""
    return place if place and (path / place).is_dir() else None


def _metadata(path: Path) -> list[Path]:
    return [path / name for name in _METADATA if (path / name).is_file()]


def _elements(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(element.name for element in folder.iterdir() if element.is_dir() and not element.name.startswith("."))

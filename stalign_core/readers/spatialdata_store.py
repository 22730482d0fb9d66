"""Sections kept in a SpatialData .zarr, read through the package spatialdata."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.images import probe_image
from stalign_core.readers.annotated import (
    array_of,
    bare_barcodes,
    check_spatial,
    gene_expression,
    gene_names,
    on_tissue,
)
from stalign_core.readers.counts import make_count_table
from stalign_core.readers.faults import reading
from stalign_core.readers.section import Section
from stalign_core.readers.zarr_layout import ZarrStore, image_elements

_A_STORE = "a SpatialData .zarr with a table of raw counts"
_SHARED = "global"
"""The coordinate system that SpatialData gives every element unless told otherwise."""


def image_of_store(store: ZarrStore) -> Path | None:
    """The image element that serves as H&E where the sample sheet names none: of those with three channels the one
    with the most pixels, which is the full-resolution one where pictures stand beside it; None without any.

    Raises
    ------
    ImageError
        If an image's metadata cannot be read.
    """
    pixels = {}
    for element in image_elements(store.path):
        facts = probe_image(element)
        if facts.channels == 3:
            pixels[element] = facts.width * facts.height
    return max(pixels, key=lambda element: pixels[element], default=None)


def read_spatialdata_section(store: ZarrStore, image: Path | None, sample: str) -> Section:
    """Read the table, and where its spots lie.

    Counts come from ``layers['counts']``, else from X; genes and array coordinates as in an .h5ad. Positions are the
    centroids of the shapes that the table annotates, brought into the image's pixels by the transformations of both;
    without shapes, ``obsm['spatial']`` as it stands.

    Parameters
    ----------
    store
        The table and its region.
    image
        The image element in whose pixels positions are given; None: in units of the coordinate system ``global``, or
        of the shapes' first one.
    sample
        The sample's name.

    Raises
    ------
    InputDataError
        If the package spatialdata is not installed, the store is broken, its elements do not fit together, or values
        are no counts or no positions.
    """
    where = store.path / "tables" / store.table
    with reading(store.path, _A_STORE), _elements(store, image) as elements:
        table = elements.tables[store.table]
        spatial, diameter = _place(elements, store, image)
        counts = table.layers.get("counts", table.X)
        if counts is None:
            raise InputDataError(str(where), "holds neither X nor layers['counts']", expected=_A_STORE)
    genes, symbols = gene_names(table.var)
    kept_genes = gene_expression(table.var, where)
    barcodes = bare_barcodes(table.obs.index, sample)
    counted = make_count_table(
        str(where), counts[:, kept_genes], barcodes=barcodes, genes=genes[kept_genes], symbols=symbols[kept_genes]
    )
    array = array_of(table.obs, where)
    kept = on_tissue(table.obs)
    check_spatial(spatial[kept], barcodes[kept], where)
    return Section(
        table=counted.of_spots(kept, barcodes[kept]),
        array=None if array is None else array[kept],
        spatial=np.ascontiguousarray(spatial[kept]),
        spot_diameter=diameter,
        known_barcodes=barcodes,
        n_spots_off_tissue=len(barcodes) - len(kept),
    )


@contextmanager
def _elements(store: ZarrStore, image: Path | None) -> Iterator[Any]:
    """The wanted elements alone: a store holds tables and shapes of all bin sizes, which reading it whole would load.

    They are read from a folder of links to them, with the metadata of the groups that they are in.
    """
    library = _library(store.path)
    wanted = [f"tables/{store.table}"]
    if store.region is not None:
        wanted.append(store.region)
    if image is not None and image.is_relative_to(store.path):
        wanted.append(image.relative_to(store.path).as_posix())
    with tempfile.TemporaryDirectory(prefix="stalign-store-") as folder:
        view = Path(folder) / "view.zarr"
        for element in wanted:
            (view / element).parent.mkdir(parents=True, exist_ok=True)
            (view / element).symlink_to((store.path / element).resolve(), target_is_directory=True)
        for group in ("", "tables", "shapes", "images"):
            if (view / group).is_dir():
                _copy_metadata(store.path / group, view / group)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield library.SpatialData.read(view)


def _library(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import spatialdata  # type: ignore[import-untyped]
    except ImportError:
        raise InputDataError(
            str(path),
            "is a SpatialData store, and the package spatialdata is not installed",
            remedy="run: pip install 'stalign[spatialdata]'",
        ) from None
    return spatialdata


def _copy_metadata(group: Path, copy: Path) -> None:
    """The group's own metadata, without what it consolidates of elements that are left out."""
    for name in (".zgroup", ".zattrs"):
        if (group / name).is_file():
            shutil.copy(group / name, copy / name)
    if (group / "zarr.json").is_file():
        metadata = json.loads((group / "zarr.json").read_text(encoding="utf-8"))
        metadata.pop("consolidated_metadata", None)
        (copy / "zarr.json").write_text(json.dumps(metadata), encoding="utf-8")


def _place(elements: Any, store: ZarrStore, image: Path | None) -> tuple[NDArray[np.float64], float | None]:
    """Positions (n, 2) as (x, y) of the table's rows, and the spots' diameter where the shapes give it."""
    table = elements.tables[store.table]
    if store.region is None:
        return _given_positions(table, store), None
    shapes = elements.shapes[Path(store.region).name]
    key = table.uns["spatialdata_attrs"]["instance_key"]
    rows = pd.Index(shapes.index).get_indexer(pd.Index(table.obs[key]))
    if (rows < 0).any():
        lost = table.obs[key].iloc[int((rows < 0).argmax())]
        raise InputDataError(
            str(store.path / store.region),
            f"lacks {int((rows < 0).sum())} of the {len(rows)} spots of table {store.table} (first: {lost})",
            expected=f"a shape for each value of obs '{key}'",
        )
    matrix = _to_pixels(shapes, _image(elements, image), store)
    centers = shapes.geometry.centroid
    spatial = np.column_stack([centers.x, centers.y])[rows] @ matrix[:2, :2].T + matrix[:2, 2]
    radius = shapes["radius"].to_numpy() if "radius" in shapes else np.sqrt(shapes.geometry.area.to_numpy() / np.pi)
    diameter = 2 * float(np.median(radius[rows])) * float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    return spatial.astype(np.float64), diameter if 0 < diameter < float("inf") else None


def _given_positions(table: Any, store: ZarrStore) -> NDArray[np.float64]:
    where = f"{store.path / 'tables' / store.table}, obsm['{keys.SPATIAL}']"
    if keys.SPATIAL not in table.obsm:
        raise InputDataError(where, "is missing, and no shapes belong to the table", expected="positions of the spots")
    spatial = np.asarray(table.obsm[keys.SPATIAL], dtype=np.float64)
    if spatial.ndim != 2 or spatial.shape[1] < 2:
        raise InputDataError(where, f"has the shape {spatial.shape}", expected="x and y of each spot")
    return np.ascontiguousarray(spatial[:, :2])


def _image(elements: Any, image: Path | None) -> Any:
    return elements.images[image.name] if image is not None and image.name in elements.images else None


def _to_pixels(shapes: Any, image: Any, store: ZarrStore) -> NDArray[np.float64]:
    """The 3 x 3 matrix from the shapes' own coordinates (x, y) to those that positions are given in."""
    from spatialdata.transformations import get_transformation  # type: ignore[import-untyped]

    def matrices(element: Any) -> dict[str, NDArray[np.float64]]:
        named = get_transformation(element, get_all=True)
        return {
            system: np.asarray(each.to_affine_matrix(("x", "y"), ("x", "y")), dtype=np.float64)
            for system, each in named.items()
        }

    of_shapes = matrices(shapes)
    if image is None:
        return of_shapes[_SHARED if _SHARED in of_shapes else min(of_shapes)]
    of_image = matrices(image)
    shared = sorted(of_shapes.keys() & of_image.keys(), key=lambda system: (system != _SHARED, system))
    if not shared:
        raise InputDataError(
            str(store.path / str(store.region)),
            f"shares no coordinate system with the image ({', '.join(of_shapes)} against {', '.join(of_image)})",
            expected="shapes and image aligned in one coordinate system",
        )
    return np.linalg.inv(of_image[shared[0]]) @ of_shapes[shared[0]]

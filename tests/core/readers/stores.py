"""SpatialData stores on disk, written by the package spatialdata itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.builders import ensembl_ids


def table_of(
    counts: NDArray[Any], region: str | list[str] = "spots", obs: Mapping[str, Any] | None = None, **parts: Any
) -> Any:
    """A table whose rows are the shapes numbered from 10 on, in reverse; `parts` go to AnnData."""
    import anndata
    from scipy.sparse import csr_matrix
    from spatialdata.models import TableModel

    n = len(counts)
    named = [region] * n if isinstance(region, str) else [region[i % len(region)] for i in range(n)]
    frame = pd.DataFrame(
        {"region": pd.Categorical(named), "instance": instances(n), **(obs or {})},
        index=[f"cell{i}" for i in range(n)],
    )
    var = pd.DataFrame({"gene_ids": ensembl_ids(counts.shape[1])}, index=[f"GENE{i}" for i in range(counts.shape[1])])
    table = anndata.AnnData(**{"X": csr_matrix(counts), "obs": frame, "var": var, **parts})
    return TableModel.parse(table, region=region, region_key="region", instance_key="instance")


def instances(n: int) -> NDArray[np.int64]:
    """Numbers of the shapes of a table's rows."""
    return np.arange(n)[::-1] + 10


def circles(spatial: NDArray[np.float64], radius: float, transformations: Mapping[str, Any] | None = None) -> Any:
    """Circles around positions (n, 2) as (x, y), which are those of the table's rows, numbered as `instances`."""
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    index = instances(len(spatial))
    order = np.argsort(index)
    return ShapesModel.parse(
        spatial[order],
        geometry=0,
        radius=radius,
        index=index[order],
        transformations=dict(transformations or {"global": Identity()}),
    )


def picture(pixels: NDArray[np.uint8], transformations: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """An image element of (height, width, channels) pixels."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity

    return Image2DModel.parse(
        np.moveaxis(pixels, -1, 0),
        dims=("c", "y", "x"),
        transformations=dict(transformations or {"global": Identity()}),
        **more,
    )


def write_store(path: Path, **elements: Any) -> Path:
    """Write a store; `elements` go to SpatialData."""
    import spatialdata

    with _flat_chunks():
        spatialdata.SpatialData(**elements).write(path)
    return path


@contextmanager
def _flat_chunks() -> Iterator[None]:
    """spatialdata 0.7.0 hands dask's chunks to ome-zarr, whose versions from 0.14 on take one length per axis alone."""
    from spatialdata._io import io_raster

    def flat(options: Any) -> Any:
        if isinstance(options, list):
            return [flat(each) for each in options]
        chunks = tuple(axis[0] if isinstance(axis, tuple) else axis for axis in options["chunks"])
        return {**options, "chunks": chunks}

    def flattened(write: Any) -> Any:
        return lambda *given, storage_options, **more: write(*given, storage_options=flat(storage_options), **more)

    names = ("write_image_ngff", "write_multiscale_ngff")
    with patch.multiple(io_raster, **{name: flattened(getattr(io_raster, name)) for name in names}):
        yield

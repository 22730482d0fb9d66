"""The cohort as a SpatialData .zarr: one table, and the spots of each section as circles in its own coordinates."""

from __future__ import annotations

import shutil
import uuid
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stalign_core import keys
from stalign_core.errors import SettingsError
from stalign_core.exports.section import ExportSection
from stalign_core.files import replace_folder

if TYPE_CHECKING:
    from anndata import AnnData

REGION: Final = "region"
INSTANCE: Final = "instance"


def write_spatialdata(path: Path, atlas: AnnData, sections: Iterable[ExportSection], names: Sequence[str]) -> None:
    """Write a store; one that lies there is replaced when the new one is whole.

    Parameters
    ----------
    path
        The .zarr to be.
    atlas
        As `write_atlas` wrote it; its spots are those of the sections, in their order.
    sections
        One after another; only spots are read.
    names
        The sections' names.

    Raises
    ------
    SettingsError
        If the package spatialdata is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what spatialdata's own dependencies will change
            from spatialdata import SpatialData
            from spatialdata.models import TableModel
    except ImportError:
        raise SettingsError(
            "format 'spatialdata'",
            "needs a package that is not installed",
            remedy="pip install 'stalign[spatialdata]'",
        ) from None
    table = atlas.copy()
    table.obs[REGION] = table.obs[keys.SAMPLE].astype(str).astype("category")
    table.obs[INSTANCE] = np.concatenate([np.arange(n) for n in _sizes(table, names)])
    table.uns.pop(keys.SPATIAL, None)
    shapes = {section.sample: _circles(section) for section in sections}
    parsed = TableModel.parse(table, region=list(names), region_key=REGION, instance_key=INSTANCE)
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.zarr")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "zarr v3 autosharding", UserWarning)
            SpatialData(tables={"table": parsed}, shapes=shapes).write(draft)
        replace_folder(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sizes(table: AnnData, names: Sequence[str]) -> list[int]:
    counted = table.obs[keys.SAMPLE].astype(str).value_counts()
    return [int(counted[name]) for name in names]


def _circles(section: ExportSection) -> Any:
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    return ShapesModel.parse(
        np.asarray(section.spatial, dtype=np.float64),
        geometry=0,
        radius=section.spot_diameter / 2,
        index=np.arange(len(section.spatial)),
        transformations={section.sample: Identity()},
    )

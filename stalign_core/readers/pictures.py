"""Which image a section's morphology is read from, and whether its spots lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.facts import ImageKind
from stalign_core.readers.layout import SectionFiles, SpaceRangerFiles, locate_section
from stalign_core.readers.spaceranger import read_scale_factors
from stalign_core.readers.spatialdata_store import image_of_store
from stalign_core.readers.zarr_layout import ZarrStore

if TYPE_CHECKING:
    from stalign_core.cohort import Sample
    from stalign_core.images.pixels import Pixels


@dataclass(frozen=True)
class Picture:
    """An image file, what it is, and its pixels per full-resolution pixel."""

    path: Path
    kind: ImageKind
    scale: float


def choose_image(sample: Sample, files: SectionFiles) -> Picture | None:
    """The sheet's image; else the hires, else the lowres picture of the Space Ranger folder, or the image of the .zarr
    store; else none.

    A sheet that names one of the folder's own pictures means that picture, with its scale.

    Raises
    ------
    InputDataError
        If a picture is to be used whose scale ``scalefactors_json.json`` does not give.
    """
    if isinstance(files, SpaceRangerFiles):
        for kind, path in _own_pictures(files).items():
            if sample.image is None or (sample.image.exists() and sample.image.samefile(path)):
                return _scaled(path, kind, files)
    serving = image_file(sample, files)
    return None if serving is None else Picture(serving, "full", 1.0)


def image_file(sample: Sample, files: SectionFiles | None = None) -> Path | None:
    """The file that `choose_image` chooses, found without reading pixels; `files` are located unless given."""
    if sample.image is not None:
        return sample.image
    files = files or locate_section(sample.path, sample.bin, sample.table)
    if isinstance(files, ZarrStore):
        return image_of_store(files)
    return next(iter(_own_pictures(files).values()), None) if isinstance(files, SpaceRangerFiles) else None


def small_picture(sample: Sample) -> tuple[str, Pixels, float] | None:
    """A picture for plots: its kind, (height, width, 3) pixels and pixels per full-resolution pixel.

    The Space Ranger folder's own hires or lowres picture; else an overview of the image that serves. None where there
    is none, or it cannot be read any more: plots can do without.
    """
    from stalign_core.errors import StalignError
    from stalign_core.images import read_overview

    try:
        files = locate_section(sample.path, sample.bin, sample.table)
        own = _own_pictures(files) if isinstance(files, SpaceRangerFiles) else {}
        picture = next((_scaled(path, kind, files) for kind, path in own.items()), None)  # type: ignore[arg-type]
        picture = picture or choose_image(sample, files)
        if picture is None:
            return None
        pixels, scale = read_overview(picture.path)
    except (StalignError, OSError):
        return None
    return plotted_as(picture.kind), pixels, picture.scale * scale


def plotted_as(kind: ImageKind) -> str:
    """Under which name scanpy's plots look for a picture: an overview of a full image stands for the hires one."""
    return "lowres" if kind == "lowres" else "hires"


def check_spots_on_image(sample: Sample, spatial: NDArray[np.float64], picture: Picture) -> tuple[str, ...]:
    """Compare the spots' centres with the size of the image; a warning for each that lies outside, when they are few.

    Raises
    ------
    ImageError
        If the image is broken.
    InputDataError
        If more than half of the spots lie outside.
    """
    from stalign_core.images import probe_image

    image = probe_image(picture.path)
    on_image = spatial * picture.scale
    outside = ((on_image < 0) | (on_image >= (image.width, image.height))).any(axis=1)
    n_outside = int(outside.sum())
    if n_outside == 0:
        return ()
    x, y = on_image.max(axis=0)
    line = f"{n_outside} of {len(spatial)} spots lie outside the image of {image.width} x {image.height} pixels"
    if n_outside > len(spatial) / 2:
        raise InputDataError(
            str(picture.path),
            f"{line} (largest x {x:.0f}, largest y {y:.0f})",
            expected=f"the image that the positions of sample {sample.sample} were measured on",
            remedy="name the full-resolution image, or leave the sheet's image empty to use the folder's pictures",
        )
    return (line,)


def resolution_warning(picture: Picture | None, spot_diameter: float) -> tuple[str, ...]:
    """What a user should know about the image that serves."""
    if picture is None:
        return ("there is no image: morphology is missing for every spot",)
    if picture.kind == "full":
        return ()
    return (
        f"the {picture.kind} picture serves as image: the diameter of a spot gets "
        f"{spot_diameter * picture.scale:.1f} pixels; name the full-resolution image in the sample sheet for more",
    )


def _own_pictures(files: SpaceRangerFiles) -> dict[ImageKind, Path]:
    """Pictures of the folder, the better one first."""
    pictures: dict[ImageKind, Path | None] = {"hires": files.hires, "lowres": files.lowres}
    return {kind: path for kind, path in pictures.items() if path is not None}


def _scaled(path: Path, kind: ImageKind, files: SpaceRangerFiles) -> Picture:
    factors = read_scale_factors(files.scale_factors)
    scale = factors.hires if kind == "hires" else factors.lowres
    if scale is None:
        raise InputDataError(
            str(files.scale_factors),
            f"misses tissue_{kind}_scalef",
            expected=f"the scale of {path.name}, which serves as image",
            remedy="name the full-resolution image in the sample sheet",
        )
    return Picture(path, kind, scale)

"""Small pictures of large images: right colours in the right places, from every format."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from stalign_core.errors import ImageError
from stalign_core.images import read_overview
from stalign_core.images.pixels import Pixels

HEIGHT, WIDTH = 900, 1200


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """Smooth colours that say where they are."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def _levels(pixels: Pixels) -> list[Pixels]:
    return [pixels, pixels[::2, ::2], pixels[::4, ::4]]


def _jpeg(path: Path, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(path, quality=95)


def _pyramid(path: Path, pixels: Pixels) -> None:
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path) as file:
        finest, *coarser = _levels(pixels)
        file.write(finest, subifds=len(coarser), **options)
        for level in coarser:
            file.write(level, subfiletype=1, **options)


def _zarr(path: Path, pixels: Pixels) -> None:
    group = zarr.open_group(path, mode="w")
    for number, level in enumerate(_levels(pixels)):
        group.create_array(str(number), data=np.moveaxis(level, -1, 0), chunks=(3, 256, 256))
    axes = [{"name": name} for name in "cyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": str(number)} for number in range(3)]}]


WRITERS: dict[str, Callable[[Path, Pixels], None]] = {
    "image.jpg": _jpeg,
    "image.png": lambda path, pixels: Image.fromarray(pixels).save(path),
    "strips.tif": lambda path, pixels: tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib"),
    "mapped.tif": lambda path, pixels: tifffile.imwrite(path, pixels, photometric="rgb"),
    "pyramid.tif": _pyramid,
    "image.zarr": _zarr,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("longest_side", [2000, 700, 250, 40])
def test_an_overview_shows_the_image_at_the_scale_it_says(
    tmp_path: Path, pixels: Pixels, name: str, longest_side: int
) -> None:
    path = tmp_path / name
    WRITERS[name](path, pixels)
    overview, scale = read_overview(path, longest_side)
    height, width = overview.shape[:2]
    assert longest_side / 2 <= width <= longest_side or (longest_side, width) == (2000, WIDTH)
    # What does not fill a block is left out at the far edges.
    assert abs(width / scale - WIDTH) <= 1 / scale
    assert abs(height / scale - HEIGHT) <= 1 / scale
    y, x = (np.mgrid[:height, :width] + 0.5) / scale
    expected = np.stack([x * 255 / WIDTH, y * 255 / HEIGHT, np.full_like(x, 90)], axis=-1)
    assert np.abs(overview - expected).max() <= 4


def test_a_pyramid_is_read_at_a_coarse_level(tmp_path: Path, pixels: Pixels) -> None:
    marked = [pixels, np.full_like(pixels[::2, ::2], 50), np.full_like(pixels[::4, ::4], 200)]
    path = tmp_path / "marked.tif"
    options = {"tile": (128, 128), "photometric": "rgb"}
    with tifffile.TiffWriter(path) as file:
        file.write(marked[0], subifds=2, **options)
        for level in marked[1:]:
            file.write(level, subfiletype=1, **options)
    assert read_overview(path, 600)[0].mean() == 50
    assert read_overview(path, 300)[0].mean() == 200
    assert read_overview(path, 300)[1] == 0.25


def test_memory_stays_far_below_the_pixels(tmp_path: Path) -> None:
    side = 6000
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, shape=(side, side, 3), dtype=np.uint8, photometric="rgb", tile=(512, 512), compression="lzw",
                     data=(np.full((512, 512, 3), 120, np.uint8) for _ in range(144)))  # fmt: skip
    tracemalloc.start()
    overview, scale = read_overview(path, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (overview.shape, scale) == ((1000, 1000, 3), 1 / 6)
    assert peak < 0.4 * 3 * side * side


def test_narrow_and_single_pixels_survive(tmp_path: Path) -> None:
    for shape in ((1, 1, 3), (3, 500, 3)):
        path = tmp_path / f"{shape[0]}.png"
        Image.fromarray(np.full(shape, 7, np.uint8)).save(path)
        overview, _ = read_overview(path, 100)
        assert overview.size > 0
        assert (overview == 7).all()


def test_damage_is_told_in_one_line(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "cut.jpg"
    _jpeg(path, pixels)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        read_overview(path, 100)

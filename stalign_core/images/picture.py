"""JPEG and PNG files: no random access, so they are decoded once, into a temporary file on disk.

Memory while decoding is bounded by 4 bytes per pixel (Pillow's own buffer) plus a strip; afterwards the pixels
lie in an unnamed temporary file of 3 bytes per pixel, mapped, which the system may page out. `MAX_PICTURE_PIXELS`
bounds both: at most 2 GB of memory while decoding and 1.5 GB in the temporary folder.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from stalign_core.errors import ImageError
from stalign_core.images.facts import ImageFacts, ImageFormat
from stalign_core.images.faults import image_faults
from stalign_core.images.pixels import Pixels, to_rgb
from stalign_core.images.slide import TileSource

MAX_PICTURE_PIXELS: Final = 500_000_000
TILE: Final = 512

_STRIP_PIXELS = 2**22
_END_MARKS: dict[str, bytes] = {"jpeg": b"\xff\xd9", "png": b"IEND"}
_TAIL_BYTES = 2**16


class _DecodedTiles:
    """Tiles cut from decoded pixels that lie in a temporary file."""

    tile_height = TILE
    tile_width = TILE

    def __init__(self, pixels: Pixels, file: IO[bytes], facts: ImageFacts) -> None:
        self.facts = facts
        self._pixels = pixels
        self._file = file

    def read_tile(self, row: int, column: int) -> Pixels:
        rows = slice(row * TILE, (row + 1) * TILE)
        return np.array(self._pixels[rows, column * TILE : (column + 1) * TILE])

    def close(self) -> None:
        del self._pixels
        self._file.close()


def probe_picture(path: Path, kind: ImageFormat) -> ImageFacts:
    """Read the header, and check that the file reaches its end mark."""
    with image_faults(path, "read"):
        with _open(path, kind) as image:
            facts = _facts(path, kind, image)
        _check_end(path, kind)
        return facts


def picture_tiles(path: Path, kind: ImageFormat) -> TileSource:
    """Decode the whole picture once, and give its tiles."""
    with image_faults(path, "decoded"):
        file = tempfile.TemporaryFile(prefix="stalign-image-")  # noqa: SIM115 - it lives as long as the slide
        try:
            with _open(path, kind) as image:
                facts = _facts(path, kind, image)
                image.load()
                n_rows = max(_STRIP_PIXELS // facts.width, 1)
                for top in range(0, facts.height, n_rows):
                    bottom = min(top + n_rows, facts.height)
                    file.write(_rgb(path, image.crop((0, top, facts.width, bottom))).tobytes())
            file.flush()
            pixels: Pixels = np.memmap(file, dtype=np.uint8, mode="r", shape=(facts.height, facts.width, 3))
            return _DecodedTiles(pixels, file, facts)
        except BaseException:
            file.close()
            raise


def reduced_jpeg(path: Path, longest_side: int) -> tuple[Pixels, float]:
    """A JPEG decoded at 1, 1/2, 1/4 or 1/8 of its size, the smallest whose longer side is not below `longest_side`.

    Returns
    -------
    (height, width, 3) uint8, and the fraction.
    """
    with image_faults(path, "decoded"), _open(path, "jpeg") as image:
        facts = _facts(path, "jpeg", image)
        wanted = longest_side / max(facts.width, facts.height)
        image.draft(None, (math.ceil(facts.width * wanted), math.ceil(facts.height * wanted)))
        image.load()
        return _rgb(path, image), 1 / round(facts.width / image.width)


def _open(path: Path, kind: ImageFormat) -> Any:
    """Open by the format's own class: Pillow's global pixel limit stays as it is and ours holds instead."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return JpegImageFile(path) if kind == "jpeg" else PngImageFile(path)


def _facts(path: Path, kind: ImageFormat, image: Any) -> ImageFacts:
    width, height = image.size
    if width * height > MAX_PICTURE_PIXELS:
        raise ImageError(
            str(path),
            f"has {width:,} x {height:,} pixels, and {kind.upper()} can only be decoded whole",
            expected=f"at most {MAX_PICTURE_PIXELS:,} pixels",
            remedy="convert it to a tiled TIFF, for example with 'vips tiffsave IN OUT.tif --tile --bigtiff'",
        )
    return ImageFacts(width=width, height=height, channels=len(image.getbands()), format=kind)


def _check_end(path: Path, kind: ImageFormat) -> None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL_BYTES, 0))
        tail = file.read()
    if _END_MARKS[kind] not in tail:
        raise ImageError(str(path), f"is incomplete: the {kind.upper()} has no end", remedy="copy the image again")


def _rgb(path: Path, strip: Any) -> Pixels:
    if strip.mode.startswith("I;16"):
        return to_rgb(np.asarray(strip)[..., np.newaxis], 65_535)
    if strip.mode in ("RGBA", "LA", "PA") or "transparency" in strip.info:
        return to_rgb(np.asarray(strip.convert("RGBA")), 255)
    if strip.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr"):
        return np.asarray(strip.convert("RGB"))
    raise ImageError(str(path), f"stores pixels of Pillow's mode {strip.mode}", expected="RGB or grey")

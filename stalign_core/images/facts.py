"""What an image's header says, and which of the supported formats a file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stalign_core.errors import ImageError

ImageFormat = Literal["tiff", "jpeg", "png", "zarr"]

_SIGNATURES: Final[tuple[tuple[bytes, ImageFormat], ...]] = (
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
)
SUPPORTED: Final = "a TIFF (OME-TIFF, BigTIFF and pyramids included), JPEG or PNG"
_ZARR_METADATA: Final = ("zarr.json", ".zgroup")


@dataclass(frozen=True)
class ImageFacts:
    """Size and kind of an image.

    Parameters
    ----------
    width, height
        Pixels of the full-resolution plane, as stored.
    channels
        Stored samples per pixel: 1 grey or palette, 2 grey with alpha, 3 RGB, 4 RGB with alpha or CMYK.
    format
        ``tiff``, ``jpeg`` or ``png``, told from the file's first bytes and not from its name, or ``zarr``, a folder.
    """

    width: int
    height: int
    channels: int
    format: ImageFormat


def is_zarr_group(path: Path) -> bool:
    """Whether `path` is a folder with the metadata of a Zarr group."""
    return any((path / name).is_file() for name in _ZARR_METADATA)


def image_format(path: Path) -> ImageFormat:
    """Tell the format from the first bytes of the file, or that it is a folder of Zarr.

    Raises
    ------
    ImageError
        If the file is missing, a folder, unreadable, empty, or of no supported format.
    """
    if is_zarr_group(path):
        return "zarr"
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise ImageError(str(path), "does not exist", remedy="correct the path of the image") from None
    except IsADirectoryError:
        raise ImageError(str(path), "is a folder", expected=f"an image file: {SUPPORTED}") from None
    except OSError as error:
        raise ImageError(
            str(path),
            f"cannot be opened ({error.strerror})",
            expected="an image file that may be read",
            remedy="ask its owner for the right to read it",
        ) from None
    if not head:
        raise ImageError(str(path), "is empty", expected=SUPPORTED, remedy="copy the image again")
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    raise ImageError(str(path), "is not an image of a supported format", expected=SUPPORTED)

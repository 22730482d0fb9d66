"""One way in which a decoder's failure becomes an `ImageError`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stalign_core.errors import ImageError, StalignError

_MACHINE_FAULTS = {
    errno.ENOSPC: "free space there, or set TMPDIR to a larger folder",
    errno.EDQUOT: "free space there, or set TMPDIR to a larger folder",
}


@contextmanager
def image_faults(path: Path, doing: str) -> Iterator[None]:
    """Turn whatever a decoder raises on foreign bytes into one line that names the file.

    Parameters
    ----------
    path
        The image.
    doing
        What was attempted, to follow "cannot be": ``read``, ``decoded``.

    Raises
    ------
    ImageError
        For every failure within the block that is not already a `StalignError`.
    """
    try:
        yield
    except StalignError:
        raise
    # tifffile, imagecodecs, zarr and Pillow raise a dozen unrelated types on a damaged file
    except Exception as error:
        remedy = _MACHINE_FAULTS.get(error.errno or 0, "") if isinstance(error, OSError) else ""
        reason = str(error) or type(error).__name__
        raise ImageError(
            str(path),
            f"cannot be {doing} ({reason})",
            remedy=remedy or "the file may be damaged or incomplete: copy it again",
        ) from error

"""How a file that cannot be read becomes one line for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stalign_core.errors import InputDataError, StalignError


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a parsing library raises on a broken file into an `InputDataError` that names `path`.

    The libraries below (HDF5, gzip, the matrix market parser, pandas, anndata) have no error type in common, and some
    of theirs derive from nothing but `Exception`.
    """
    try:
        yield
    except PermissionError as error:
        raise InputDataError(str(path), "may not be read", remedy="ask its owner for the right to read it") from error
    except StalignError:
        raise
    except Exception as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise InputDataError(
            str(path),
            f"cannot be read: truncated, altered or of another format ({reason})",
            expected=expected,
            remedy="copy the file anew from its source",
        ) from error

"""Whether the libraries of HDF5 and Parquet come to an end with a file, tried in a process of its own.

A damaged file can lead them in circles, or end the process that reads it, and no exception tells. Whoever reads users'
files looks before; what the files hold is for their readers to judge.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from stalign_core.errors import InputDataError

NATIVE_SUFFIXES: Final = (".h5", ".h5ad", ".parquet")
LEAST_SECONDS: Final = 120.0
_BYTES_PER_SECOND: Final = 1_000_000
"""A disk that is slower than this is taken for a file that never ends."""
_SMALL: Final = 2**20


def check_native_files(paths: Iterable[Path], least_seconds: float | None = None) -> None:
    """Let another process look through those of `paths` that HDF5 or Parquet will read.

    Parameters
    ----------
    paths
        Files of any kind.
    least_seconds
        How long that process may take, whatever the files' size; `LEAST_SECONDS` unless given.

    Raises
    ------
    InputDataError
        If it does not come to an end, or is ended, and naming the file at which.
    RuntimeError
        If no such process can be started here.
    """
    native = [path for path in paths if path.suffix in NATIVE_SUFFIXES and path.is_file()]
    if not native:
        return
    seconds = (least_seconds or LEAST_SECONDS) + sum(path.stat().st_size for path in native) / _BYTES_PER_SECOND
    process = subprocess.Popen(
        [sys.executable, "-m", "stalign_core.readers.native_probe", str(round(2 * seconds)), *map(str, native)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        begun, told = process.communicate(timeout=seconds)
        if process.returncode > 0:
            raise RuntimeError(f"files cannot be looked through before they are read: {told.strip()}")
        problem = f"ends the process that reads it (signal {-process.returncode})" if process.returncode < 0 else ""
    except subprocess.TimeoutExpired:
        process.kill()
        begun, _ = process.communicate()
        problem = f"keeps its reader for more than {seconds:.0f} seconds"
    if problem:
        file = begun.splitlines()[-1] if begun else str(native[0])
        raise InputDataError(
            file, problem, expected="a whole file", remedy="it is damaged: copy it again from where it was made"
        )


def _look_through(path: Path) -> None:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.read_table(path)
    else:
        import h5py

        with h5py.File(path, "r") as file:
            file.visititems(_look_at)


def _look_at(name: str, item: Any) -> None:  # noqa: ARG001
    """Everything that leads from place to place: attributes, the index of chunks, and small arrays with their text."""
    import h5py

    dict(item.attrs)
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return
    if item.chunks is not None:
        item.id.chunk_iter(_pass)
    if item.nbytes <= _SMALL:
        item[()]


def _pass(chunk: Any) -> None: ...


if __name__ == "__main__":
    # Should whoever started this be killed meanwhile, the system ends what goes in circles.
    most_seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, most_seconds))
    for each in sys.argv[2:]:
        sys.stdout.write(f"{each}\n")
        sys.stdout.flush()
        # What is wrong in a way that can be told is told by the reader.
        with suppress(Exception):
            _look_through(Path(each))

"""Whether the libraries of HDF5 and Parquet come to an end with a file, tried in a process of its own.

A damaged file can lead them in circles, or end the process that reads it, and no exception tells. Whoever reads users'
files looks before; what the files hold is for their readers to judge.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from stalign_core.errors import InputDataError

_HDF5, _PARQUET = b"\x89HDF\r\n\x1a\n", b"PAR1"
"""How files of these formats begin."""
_SUFFIXES: Final = (".h5", ".h5ad", ".parquet")
LEAST_SECONDS: Final = 120.0
_BYTES_PER_SECOND: Final = 1_000_000
"""A disk that is slower than this, with some patience, is taken for a file that never ends."""
_PATIENCE: Final = 4
"""Seconds that pass for each second of computing: other programs may want the processor, too."""
_SMALL: Final = 2**20
_SECONDS_TO_END: Final = 10


def check_native_files(paths: Iterable[Path], least_seconds: float | None = None) -> None:
    """Let another process look through those of `paths` that HDF5 or Parquet will read.

    Parameters
    ----------
    paths
        Files of any kind.
    least_seconds
        How long that process may compute, whatever the files' size; `LEAST_SECONDS` unless given.

    Raises
    ------
    InputDataError
        If it does not come to an end, or is ended, and naming the file at which.
    RuntimeError
        If no such process can be started here.
    """
    native = [path for path in paths if path.is_file() and _is_native(path)]
    if not native:
        return
    seconds = (least_seconds or LEAST_SECONDS) + sum(path.stat().st_size for path in native) / _BYTES_PER_SECOND
    process = subprocess.Popen(
        [sys.executable, "-m", "stalign_core.readers.native_probe", str(round(seconds)), *map(str, native)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        begun, told = process.communicate(timeout=_PATIENCE * seconds)
        if process.returncode > 0:
            raise RuntimeError(f"files cannot be looked through before they are read: {told.strip()}")
        problem = "" if process.returncode == 0 else f"ends the process that reads it (signal {-process.returncode})"
        endless = process.returncode == -signal.SIGXCPU
    except subprocess.TimeoutExpired:
        process.kill()
        begun, _ = process.communicate()
        endless = True
    if endless:
        problem = f"keeps its reader for more than {seconds:.0f} seconds"
    if problem:
        file = begun.splitlines()[-1] if begun else str(native[0])
        raise InputDataError(
            file, problem, expected="a whole file", remedy="it is damaged: copy it again from where it was made"
        )


def _is_native(path: Path) -> bool:
    """By its name, for its beginning may be damaged; or by its beginning, for a link may lead to another name."""
    return path.suffix in _SUFFIXES or _begins_with(path, _HDF5) or _begins_with(path, _PARQUET)


def _begins_with(path: Path, mark: bytes) -> bool:
    # A file that cannot be opened is named by its reader.
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(len(mark)) == mark
    return False


def _look_through(path: Path) -> None:
    if path.suffix == ".parquet" or _begins_with(path, _PARQUET):
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
    # What goes in circles is ended by the system, also should whoever started this be killed meanwhile.
    most_seconds = int(sys.argv[1])
    # At the first limit the kernel sends SIGXCPU, at the second SIGKILL, and where they are the same, SIGKILL alone.
    resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, most_seconds + _SECONDS_TO_END))
    for each in sys.argv[2:]:
        sys.stdout.write(f"{each}\n")
        sys.stdout.flush()
        # What is wrong in a way that can be told is told by the reader.
        with suppress(Exception):
            _look_through(Path(each))

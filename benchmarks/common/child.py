"""A program as a child process: arrays in, arrays out, and what it cost."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.memory import wait_measured


@dataclass(frozen=True)
class Outcome:
    """What a child gave and took.

    Attributes
    ----------
    arrays
        What it wrote.
    cpu_seconds
        Processor time of all its threads, imports included.
    peak_mb
        Largest resident memory, libraries included.
    """

    arrays: Mapping[str, np.ndarray]
    cpu_seconds: float
    peak_mb: float


def run_child(command: Sequence[str], given: Mapping[str, object]) -> Outcome:
    """Run ``command INPUT.npz OUTPUT.npz`` in a folder of its own.

    Raises
    ------
    RuntimeError
        With the end of what it said, if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result, log = (Path(folder) / name for name in ("input.npz", "output.npz", "log.txt"))
        np.savez(source, **given)
        with log.open("wb") as stream:
            child = subprocess.Popen(
                [*command, str(source), str(result)], cwd=folder, stdout=stream, stderr=subprocess.STDOUT
            )
            usage = wait_measured(child)
        if child.returncode:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{command[-1]} ended with {child.returncode}:\n{said}")
        with np.load(result) as arrays:
            found = dict(arrays)
    return Outcome(found, usage.cpu_seconds, usage.peak_mb)

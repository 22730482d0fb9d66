"""The coverage-guided fuzzer on each reader, for as many seconds as STALIGN_FUZZ_SECONDS says.

Not without it, for what it finds depends on the time it has. ``python -m tests.fuzz TARGET`` goes on for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.fuzz.isolated import NATIVE
from tests.fuzz.targets import TARGETS

_MAY_HANG = pytest.mark.xfail(strict=False, reason="HDF5 and Arrow never return from some altered bytes")
SECONDS = int(os.environ.get("STALIGN_FUZZ_SECONDS", "0"))


@pytest.mark.slow
@pytest.mark.skipif(SECONDS == 0, reason="STALIGN_FUZZ_SECONDS is not set")
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris, the fuzzer, is not installed on this platform")
@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=_MAY_HANG) if name in NATIVE else name for name in TARGETS]
)
def test_no_input_ends_a_reader_but_with_one_line(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, f"-max_total_time={SECONDS}", "-seed=1"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=SECONDS + 240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr or "Done" in done.stderr, done.stderr[-3000:]

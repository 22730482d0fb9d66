"""The coverage-guided fuzzer on each reader, for a few seconds; ``python -m tests.fuzz TARGET`` goes on for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.fuzz.targets import TARGETS

SECONDS = int(os.environ.get("STALIGN_FUZZ_SECONDS", "6"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris, the fuzzer, is not installed on this platform")
@pytest.mark.parametrize("target", TARGETS)
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

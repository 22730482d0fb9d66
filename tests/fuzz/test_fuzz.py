"""The coverage-guided fuzzer on each reader, for as many seconds as STALIGN_FUZZ_SECONDS says.

Not without it, for what it finds depends on the time it has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.isolated import NATIVE, Isolated, judge_as_a_study_reads
from tests.fuzz.targets import TARGETS

SECONDS = int(os.environ.get("STALIGN_FUZZ_SECONDS", "0"))
NATIVE_SECONDS = 10
"""Time for one input of HDF5 and Arrow; what takes longer is looked at again, in a process of its own."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SECONDS == 0, reason="STALIGN_FUZZ_SECONDS is not set"),
    pytest.mark.skipif(find_spec("atheris") is None, reason="atheris, the fuzzer, is not installed on this platform"),
]


def fuzz(target: str, folder: Path, seconds: int, seed: int, *options: str) -> subprocess.CompletedProcess[str]:
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", *options]
    # The fuzzer's limit is on a peak that begins with that of the process that starts it: a shell has next to none.
    through_shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    return subprocess.run(
        [*through_shell, sys.executable, "-m", "tests.fuzz", target, str(folder), *limits],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds + 240,
    )


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in NATIVE])
def test_no_input_ends_a_reader_but_with_one_line(target: str, tmp_path: Path) -> None:
    done = fuzz(target, tmp_path, SECONDS, seed=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr or "Done" in done.stderr, done.stderr[-3000:]


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("target", NATIVE)
def test_every_input_of_a_native_format_is_read_or_refused_as_a_study_reads_it(target: str, tmp_path: Path) -> None:
    """HDF5 and Arrow never return from some inputs, or end the process: of those the look before reading must know.

    The fuzzer reads in its own process, which such an input ends; the input is then read as a study does, and the
    fuzzer goes on with what it has learnt.
    """
    end, seed, judged = time.monotonic() + SECONDS, 0, set()
    while (left := round(end - time.monotonic())) > 0:
        seed += 1
        done = fuzz(target, tmp_path, left, seed, f"-timeout={NATIVE_SECONDS}")
        if done.returncode == 0:
            assert "DONE" in done.stderr or "Done" in done.stderr, done.stderr[-3000:]
            break
        found = set((tmp_path / "found").iterdir()) - judged
        assert found, done.stderr[-3000:]
        for path in found:
            with Isolated(seconds=4 * NATIVE_SECONDS) as process:
                judge_as_a_study_reads(process, target, path.read_bytes())
        judged |= found
    print(f"{target}: {len(judged)} inputs ended the fuzzer, each of which a study reads or refuses in one line")

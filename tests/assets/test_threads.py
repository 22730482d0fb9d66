"""Threads of a step, and what the process that steps are forked from has loaded before it knows of them."""

from __future__ import annotations

import subprocess
import sys

NUMBA = """
import numba
from stalign_assets.threads import available_cores, limit_threads

for threads in (1, 0, available_cores() + 1, 1):
    assert limit_threads(threads) == (threads or available_cores())
    assert numba.get_num_threads() == min(threads or numba.config.NUMBA_NUM_THREADS, numba.config.NUMBA_NUM_THREADS)
    assert numba.njit(lambda x: x + 1)(1) == 2
"""

PRELOADED = """
import signal, sys
from importlib.abc import MetaPathFinder

class Broken(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("scanpy", "umap"):
            raise OSError("libhdf5.so: cannot open shared object file")

sys.meta_path.insert(0, Broken())
import stalign_assets.platform.executors.preloaded
assert {"torch", "duckdb", "harmonypy"} <= sys.modules.keys()
assert not {"scanpy", "umap"} & sys.modules.keys()
assert {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} == {signal.SIG_IGN}
assert not sys.modules["torch"].cuda.is_initialized()
"""


def succeeds(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numba_compiles_with_the_threads_of_the_step_though_it_was_loaded_before() -> None:
    succeeds(NUMBA)


def test_a_library_that_cannot_be_loaded_and_a_signal_do_not_end_what_steps_are_forked_from() -> None:
    succeeds(PRELOADED)

"""`dagster-daemon` as a process of its own on a study, ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psutil
from dagster._core.scheduler.instigation import InstigatorTick

from stalign_assets.study import STUDY_VARIABLE

STOP_SECONDS = 60.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    log: Path
    instance: dg.DagsterInstance

    def ticks(self, name: str) -> list[InstigatorTick]:
        """Ticks of a sensor or schedule so far, the newest first."""
        found: list[InstigatorTick] = []
        for state in self.instance.all_instigator_state():
            if state.instigator_name == name:
                found += self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=200)
        return found

    def skips(self, name: str) -> list[str]:
        """Why ticks skipped."""
        return [tick.skip_reason for tick in self.ticks(name) if tick.skip_reason]

    def wait_for(self, what: str, look: Callable[[], Found | None], seconds: float) -> Found:
        """Look until something is found; a daemon that has ended is found nothing by."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.tail()
            found = look()
            if found:
                return found
            time.sleep(0.5)
        raise TimeoutError(f"{what} did not come within {seconds} s:\n{self.tail()}")

    def process_of(self, run_id: str) -> psutil.Process | None:
        """The process that carries out a run: the youngest below the code server that is not a server itself."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "multiprocessing.spawn" in " ".join(child.cmdline()):
                    return child
        return None

    def tail(self) -> str:
        """The end of the daemon's log."""
        return self.log.read_text(errors="replace")[-6000:]


@contextmanager
def daemon_at_work(folder: Path, instance: dg.DagsterInstance) -> Iterator[Daemon]:
    """Run the daemon on a study until the block ends."""
    home = folder / "dagster"
    log = folder.parent / "daemon.log"
    environment = {**os.environ, STUDY_VARIABLE: str(folder), "DAGSTER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "stalign_assets.definitions"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=home, env=environment, start_new_session=True
        )
    try:
        yield Daemon(process, log, instance)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)

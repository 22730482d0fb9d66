"""Outer folds of a benchmark at once: each a Dagster run in a process of its own, all told to one terminal."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.reporting import Console, attached
from stalign_assets.runs import RunFault, RunOutcome, RunRequest, open_instance, start_run
from stalign_assets.signals import keeping_sigterm
from stalign_assets.study import Study, open_study
from stalign_assets.telling import FoldsConsole, PipeConsole
from stalign_core.errors import StalignError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext, SpawnProcess

_END: Final = "end"
_STOPPED: Final = "stopped"
_GRACE_SECONDS: Final = 10.0
_SECONDS_TO_STOP: Final = 60.0


@dataclass(frozen=True)
class _Worker:
    fold: str
    process: SpawnProcess
    pipe: Connection


def run_folds(study: Study, folds: Sequence[str], at_once: int, console: Console) -> list[RunOutcome]:
    """Search folds, each in a process of its own, so many at once; as one fails the others go on.

    What each computes does not depend on the others: trials that several need are computed by one of them.

    Raises
    ------
    KeyboardInterrupt
        If a signal ended one of them, or this process; the others are then ended in order.
    """
    context = multiprocessing.get_context("spawn")
    told = FoldsConsole(console)
    waiting, at_work = list(folds), list[_Worker]()
    outcomes: dict[str, RunOutcome] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < at_once:
                fold = waiting.pop(0)
                console.title(f"benchmark: {fold}")
                at_work.append(_start(context, study, fold))
            ready = wait([worker.pipe for worker in at_work])
            for worker in [worker for worker in at_work if worker.pipe in ready]:
                ended = _hear(worker, told)
                if ended is not None:
                    worker.process.join()
                    at_work.remove(worker)
                    told.forget(worker.fold)
                    outcomes[worker.fold] = ended
    except BaseException:
        _stop(at_work)
        raise
    return [outcomes[fold] for fold in folds]


def _start(context: SpawnContext, study: Study, fold: str) -> _Worker:
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_search, args=(study.folder, fold, there), name=f"stalign {fold}")
    process.start()
    there.close()
    return _Worker(fold, process, here)


def _hear(worker: _Worker, told: FoldsConsole) -> RunOutcome | None:
    """Show what a worker sends; how its run ended, once it has."""
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        # Killed in the middle of a message, or between two.
        worker.process.join()
        line = f"{SEARCH} of {worker.fold}: its process ended with code {worker.process.exitcode}"
        return _failed(line, by_user=False)
    if kind == _STOPPED:
        raise KeyboardInterrupt
    if kind == _END:
        ended: RunOutcome = content
        return ended
    told.tell(worker.fold, kind, content)
    return None


def _stop(workers: Sequence[_Worker]) -> None:
    """End what is at work in order; what does not end in time is killed."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _search(folder: Path, fold: str, pipe: Connection) -> None:
    """Of a process of its own: search one fold and send what it tells, and how it ended."""
    _end_with_parent()
    console = PipeConsole(pipe.send)
    try:
        study = open_study(folder)
        with keeping_sigterm(signal.default_int_handler), attached(console), open_instance(study) as instance:
            ended = start_run(_in_this_process(study), instance, RunRequest([SEARCH], fold), console)
    except KeyboardInterrupt:
        console.send(_STOPPED, None)
    except StalignError as error:
        console.send(_END, _failed(error.line, by_user=True))
    except Exception as error:
        traceback.print_exc()
        line = f"{SEARCH} of {fold}: {type(error).__name__}: {' '.join(str(error).split())}"
        console.send(_END, _failed(line, by_user=False))
    else:
        console.send(_END, ended)


def _failed(line: str, *, by_user: bool) -> RunOutcome:
    return RunOutcome("", False, (RunFault(SEARCH, line, by_user=by_user),))


def _in_this_process(study: Study) -> Study:
    """The fold has a process already: its one step needs no other."""
    execution = study.settings.execution.model_copy(update={"processes": 1})
    return replace(study, settings=study.settings.model_copy(update={"execution": execution}))


def _end_with_parent() -> None:
    """A fold whose command was killed is ended as by the user, and does not go on unseen."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        # Where a shell started the command in its background, Dagster ignores SIGTERM as the shell had SIGINT ignored.
        time.sleep(_GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

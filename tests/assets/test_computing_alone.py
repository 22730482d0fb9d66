"""Processes that would compute one artifact at the same moment."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stalign_assets.locking import computing_alone
from stalign_assets.materialise import Step, materialise
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.study import UNFINISHED_FOLDER, open_study
from stalign_assets.wanted import wanted
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

N_PROCESSES, N_TURNS = 4, 25
PATIENCE = 60.0
_SPAWNING = multiprocessing.get_context("spawn")


def work(scratch: Path) -> None:
    """What only one may do at a time: nobody finds the other's file, and everybody takes his own away."""
    for _ in range(N_TURNS):
        with computing_alone(scratch, lambda _: None):
            mine = scratch.with_name("at work")
            mine.touch(exist_ok=False)
            time.sleep(0.001)
            mine.unlink()


def hold(scratch: Path, holds: Event) -> None:
    with computing_alone(scratch, lambda _: None):
        holds.set()
        time.sleep(PATIENCE)


def started(target: Callable[..., None], *arguments: Any) -> Any:
    process = _SPAWNING.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def test_one_at_a_time_and_no_lock_is_left(tmp_path: Path) -> None:
    scratch = tmp_path / "unfinished" / "key"
    workers = [started(work, scratch) for _ in range(N_PROCESSES)]
    for worker in workers:
        worker.join(timeout=PATIENCE)
    assert [worker.exitcode for worker in workers] == [0] * N_PROCESSES
    assert list(scratch.parent.iterdir()) == []


def test_who_waits_says_for_whom_and_goes_on_once_that_is_killed(tmp_path: Path) -> None:
    scratch = tmp_path / "unfinished" / "key"
    holds = _SPAWNING.Event()
    holder = started(hold, scratch, holds)
    assert holds.wait(timeout=PATIENCE)
    said: list[str] = []
    threading.Timer(0.3, os.kill, (holder.pid, signal.SIGKILL)).start()
    with computing_alone(scratch, said.append) as waited:
        assert waited
    assert said == [f"waiting for another process ({holder.pid}), which computes the same"]
    with computing_alone(scratch, said.append) as waited:
        assert not waited


def test_a_computation_that_fails_leaves_the_lock_to_the_next(tmp_path: Path) -> None:
    scratch = tmp_path / "unfinished" / "key"
    try:
        with computing_alone(scratch, lambda _: None):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with computing_alone(scratch, lambda _: None) as waited:
        assert not waited


def test_where_no_lock_can_be_had_none_is_taken_and_no_fault_of_the_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "unfinished").touch()
    with (
        pytest.raises(ZeroDivisionError) as error,
        computing_alone(tmp_path / "unfinished" / "key", lambda _: None) as waited,
    ):
        assert not waited
        raise ZeroDivisionError
    assert error.value.__context__ is None


def test_a_file_system_that_knows_no_locks_keeps_no_file_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with computing_alone(tmp_path / "key", lambda _: None) as waited:
        assert not waited
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_is_gone_is_no_lock_that_cannot_be_had(tmp_path: Path) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    with computing_alone(tmp_path / "key", lambda _: None):
        with pytest.raises(BrokenPipeError), computing_alone(tmp_path / "key", gone):
            raise AssertionError("two are at it")
        assert (tmp_path / "key.lock").exists()


def test_what_the_other_made_is_not_computed_again(study: Path) -> None:
    opened = open_study(study)
    recipes = recipes_of(opened.settings)
    recipe = recipes["cohort/harmony/domains"]
    base = Path(opened.store.base.path)
    want = wanted(opened, recipes, recipe, UNPARTITIONED)
    artifact, aside = base / recipe.asset / UNPARTITIONED / want.input_key, base / "aside"
    assert artifact.is_dir()
    artifact.rename(aside)
    waits = threading.Event()

    def make_it_meanwhile() -> None:
        assert waits.wait(timeout=PATIENCE)
        aside.rename(artifact)
        released.set()

    released, holds = threading.Event(), threading.Event()

    def compute_it() -> None:
        with computing_alone(opened.store.cache / UNFINISHED_FOLDER / want.input_key, lambda _: None):
            holds.set()
            assert released.wait(timeout=PATIENCE)

    threads = [threading.Thread(target=each) for each in (make_it_meanwhile, compute_it)]
    for thread in threads:
        thread.start()
    assert holds.wait(timeout=PATIENCE)
    step = Step(opened, recipes, recipe, UNPARTITIONED, "run", lambda *_: None, lambda _: waits.set())
    assert materialise(step).reused
    for thread in threads:
        thread.join(timeout=PATIENCE)

"""Folds at work at once share what they compute."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stalign_assets.recipes.benchmark.claims import Claims
from stalign_assets.recipes.benchmark.search import Fold, _Runner
from stalign_assets.recipes.benchmark.trials import TRIALS, Place
from stalign_core.benchmark.arms import Arm, Trial
from stalign_core.progress import silent

KEYS = [f"{number:x}".rjust(15, "0") + "f" * 17 for number in range(8)]
SECONDS = 0.05


class OnDisk:
    """A bench whose trials are files, and whose computation takes a moment and is written down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.claims = folder, Claims(folder)

    def trial_place(self, donors: Sequence[str], trial: Trial) -> Place:
        """Named after the trial's seed."""
        return Place(TRIALS, "+".join(donors), KEYS[trial.seed])

    def is_there(self, place: Place) -> bool:
        """Whether it was computed."""
        return (self.folder / place.input_key).exists()

    def run(self, donors: Sequence[str], trial: Trial, _: object) -> None:
        """Compute it."""
        key = self.trial_place(donors, trial).input_key
        time.sleep(SECONDS)
        with (self.folder / "computed").open("a") as stream:
            stream.write(f"{key}\n")
        (self.folder / key).touch()


def compute_all(folder: Path, ready: Barrier) -> None:
    """What a fold does with the trials that it needs; how many were its own is written down."""
    bench: Any = OnDisk(folder)
    task: Any = SimpleNamespace(settings=None, progress=silent, say=print)
    runner = _Runner(task, bench, Fold(folder.name, "multi_donor", 1, {}, {}))
    ready.wait()
    runner._compute([(["A"], Trial(Arm("harmony", "alone"), {}, seed, 0)) for seed in range(len(KEYS))], "test")
    # Nothing is left to others when it returns.
    assert all(bench.is_there(bench.trial_place(["A"], Trial(Arm("harmony", "alone"), {}, n, 0))) for n in range(8))
    with (folder / "own").open("a") as stream:
        stream.write(f"{runner.n_computed}\n")


def test_two_processes_compute_everything_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    workers = [context.Process(target=compute_all, args=(tmp_path, ready)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted((tmp_path / "computed").read_text().split()) == KEYS
    own = [int(count) for count in (tmp_path / "own").read_text().split()]
    assert sum(own) == len(KEYS) and min(own) > 0


def hold(folder: Path, held: str) -> None:
    """Claim something and never let go."""
    with Claims(folder).claim(KEYS[0]):
        (folder / held).touch()
        time.sleep(600)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, "held"))
    holder.start()
    while not (tmp_path / "held").exists():
        assert holder.is_alive()
        time.sleep(0.02)
    claims = Claims(tmp_path)
    with claims.claim(KEYS[0]) as own, claims.claim(KEYS[1]) as other:
        assert not own and other
    holder.kill()
    holder.join()
    with claims.claim(KEYS[0]) as own:
        assert own


def test_where_nothing_can_be_locked_everybody_may_compute(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Claims(tmp_path / "file" / "below").claim(KEYS[0]) as own:
        assert own

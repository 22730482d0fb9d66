"""Folds at work at once share what they compute."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

from stalign_assets.recipes.benchmark.claims import Claims

KEYS = [f"{number:x}".rjust(15, "0") + "f" * 17 for number in range(8)]
SECONDS = 0.05


def compute_all(folder: Path) -> None:
    """What a fold does with what is not there yet: compute it, or leave it to whoever is at it."""
    claims, pending, wait = Claims(folder), list(KEYS), False
    while pending:
        left = []
        for key in pending:
            with claims.claim(key, wait=wait) as own:
                if not own:
                    left.append(key)
                elif not (folder / key).exists():
                    time.sleep(SECONDS)
                    with (folder / "computed").open("a") as stream:
                        stream.write(f"{key}\n")
                    (folder / key).touch()
        pending, wait = left, True


def test_two_processes_compute_everything_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=compute_all, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted((tmp_path / "computed").read_text().split()) == KEYS


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

"""How fast a machine is right now: a short piece of work of the kinds that trials do, timed."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

REFERENCE_SECONDS: Final = 0.7
"""Processor time of the work on the machine whose costs `stalign_core.benchmark.forecast` holds."""

_SIDE: Final = 700
_SPOTS: Final = 6000
_STEPS: Final = 120


@dataclass(frozen=True)
class Pace:
    """How a machine compares.

    Attributes
    ----------
    slowness
        Wall time of the work over its processor time on the reference machine.
    load
        Its wall time over its processor time here: 1 where nothing else wants the cores.
    """

    slowness: float = 1.0
    load: float = 1.0


def measure_pace(at_once: int = 1) -> Pace:
    """Time the work, in as many processes at once as are going to be at work; the slowest counts.

    Where one of them dies, the machine counts as like the reference.
    """
    if at_once < 2:
        return _pace([_timed()])
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(at_once):
        here, there = context.Pipe()
        worker = context.Process(target=_time_together, args=(there,), daemon=True)
        worker.start()
        # Held open here, its end would keep the death of the process from being seen.
        there.close()
        pipes.append(here)
        workers.append(worker)
    try:
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:
            pipe.send(None)
        found = [pipe.recv() for pipe in pipes]
    except (EOFError, OSError):
        return Pace()
    finally:
        for worker, pipe in zip(workers, pipes, strict=True):
            pipe.close()
            worker.terminate()
            worker.join()
    return _pace(found)


def _pace(found: list[tuple[float, float]]) -> Pace:
    wall, processor = max(found)
    return Pace(wall / REFERENCE_SECONDS, max(1.0, wall / processor))


def _time_together(pipe: Connection) -> None:
    """Say that libraries are loaded, and begin with the others."""
    _work(1)
    pipe.send(None)
    pipe.recv()
    pipe.send(_timed())


def _timed() -> tuple[float, float]:
    """Wall and processor seconds of the work, once what it needs is loaded."""
    _work(1)
    wall, processor = time.perf_counter(), time.process_time()
    _work(_STEPS)
    return time.perf_counter() - wall, time.process_time() - processor


def _work(steps: int) -> None:
    """Linear algebra, neighbours and training, with one thread."""
    import numpy as np
    import torch
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            side = _SIDE if steps > 1 else 10
            np.linalg.eigh(rng.normal(size=(side, side)))
            points = rng.normal(size=(_SPOTS if steps > 1 else 100, 20))
            NearestNeighbors(n_neighbors=30, algorithm="brute").fit(points).kneighbors(points)
            _train(steps)
    finally:
        torch.set_num_threads(threads)


def _train(steps: int) -> None:
    import torch
    from torch import nn

    # A generator of its own: what is timed leaves the random state of the process alone.
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((128, 128), generator=generator).requires_grad_()
    rows = torch.randn((2048, 128), generator=generator)
    for _ in range(steps):
        loss = nn.functional.mse_loss(torch.tanh(rows @ weight) @ weight, rows)
        loss.backward()  # type: ignore[no-untyped-call]
        weight.grad = None

"""Keep the process's random state as it was around libraries that seed it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def numpy_state_kept() -> Iterator[None]:
    """Restore the global generators of Python and numpy, and the environment, on leaving."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    environment = dict(os.environ)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        _restore(environment)


@contextmanager
def torch_state_kept() -> Iterator[None]:
    """As `numpy_state_kept`, and torch's generators and cuDNN switches with them."""
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with numpy_state_kept(), torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic = deterministic
            torch.backends.cudnn.benchmark = benchmark


def _restore(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)

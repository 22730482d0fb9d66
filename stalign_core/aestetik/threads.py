"""How many CPU threads the model uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and give back the others afterwards.

    The steps are so small that threads wait for each other longer than they work, by far on a busy machine;
    and on one thread sums are added in one order, so that a seed gives the same bytes on any machine's count
    of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

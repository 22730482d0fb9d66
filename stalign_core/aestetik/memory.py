"""Training in batches that the memory of a GPU holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import torch
from torch import Tensor

from stalign_core.errors import ModelError

FEWEST: Final = 32
"""Spots below which a batch is not halved: triplets are drawn within it."""

Taken = TypeVar("Taken")


class DoesNotFitError(Exception):
    """The memory of one of several GPUs does not hold its share of a batch.

    Attributes
    ----------
    n_spots
        How many spots the share has.
    """

    def __init__(self, n_spots: int) -> None:
        super().__init__(n_spots)
        self.n_spots = n_spots


class FittingBatches:
    """Halves batches where memory runs out, and keeps to the size that was found to fit.

    Attributes
    ----------
    reduced_to
        Most spots of a batch on one device since memory ran out; None while it has not.
    """

    def __init__(self) -> None:
        self.reduced_to: int | None = None

    def each_part(self, batch: Tensor, step: Callable[[Tensor], Taken]) -> Iterator[Taken]:
        """Take a step on each part of a batch, which is the whole of it as long as it fits.

        A step that ran out of memory is taken anew on two halves, so it must leave nothing behind before it succeeds.

        Raises
        ------
        ModelError
            If memory does not hold `FEWEST` spots.
        """
        pending = self._parts(batch)
        while pending:
            spots = pending.pop(0)
            taken = _taken_if_it_fits(step, spots)
            if taken is not None:
                yield taken
            else:
                self.halve(len(spots))
                torch.cuda.empty_cache()
                pending = [part for each in (spots, *pending) for part in self._parts(each)]

    def each_share(
        self, batch: Tensor, step: Callable[[Tensor], Taken], n_processes: int, process: int
    ) -> Iterator[Taken]:
        """Take a step on a process's share of each part of a batch; all processes take as many steps.

        Raises
        ------
        DoesNotFitError
            If memory ran out: the processes take each step together, so none can halve its batch for itself.
        """
        for part in self._parts(batch, n_processes):
            share = part.tensor_split(n_processes)[process]
            taken = _taken_if_it_fits(step, share)
            if taken is None:
                raise DoesNotFitError(len(share))
            yield taken

    def halve(self, n_spots: int) -> None:
        """From now on, take half of the spots that did not fit.

        Raises
        ------
        ModelError
            If they are too few to be halved.
        """
        if n_spots < 2 * FEWEST:
            raise ModelError(
                "aestetik.device",
                f"GPU memory does not hold the model and a batch of {n_spots} spots",
                remedy="set aestetik.device to 'cpu', or free the GPU of other programs",
            )
        self.reduced_to = (n_spots + 1) // 2

    def _parts(self, batch: Tensor, n_processes: int = 1) -> list[Tensor]:
        if self.reduced_to is None:
            return [batch]
        return list(batch.tensor_split(-(-len(batch) // (self.reduced_to * n_processes))))


def _taken_if_it_fits(step: Callable[[Tensor], Taken], spots: Tensor) -> Taken | None:
    """What a step gives, or None; its tensors are gone when this returns, as the error no longer holds them."""
    try:
        return step(spots)
    except torch.cuda.OutOfMemoryError:
        return None

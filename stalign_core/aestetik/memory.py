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


class FittingBatches:
    """Halves batches where memory runs out, and keeps to the size that was found to fit.

    Attributes
    ----------
    reduced_to
        Most spots of a batch since memory ran out; None while it has not.
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
            elif len(spots) < 2 * FEWEST:
                raise ModelError(
                    "aestetik.device",
                    f"GPU memory does not hold the model and a batch of {len(spots)} spots",
                    remedy="set aestetik.device to 'cpu', or free the GPU of other programs",
                )
            else:
                torch.cuda.empty_cache()
                self.reduced_to = (len(spots) + 1) // 2
                pending = [part for each in (spots, *pending) for part in self._parts(each)]

    def _parts(self, batch: Tensor) -> list[Tensor]:
        if self.reduced_to is None:
            return [batch]
        return list(batch.tensor_split(-(-len(batch) // self.reduced_to)))


def _taken_if_it_fits(step: Callable[[Tensor], Taken], spots: Tensor) -> Taken | None:
    """What a step gives, or None; its tensors are gone when this returns, as the error no longer holds them."""
    try:
        return step(spots)
    except torch.cuda.OutOfMemoryError:
        return None

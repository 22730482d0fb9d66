"""What a network sees of the spots, whatever the network: the contract between a preset and the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from stalign_core.aestetik.settings import TripletLabels


class Views(Protocol):
    """The neighbourhoods of n spots, gathered batch by batch: no tensor of all windows is ever made.

    Attributes
    ----------
    n_spots
        n.
    embed_spots
        Spots embedded at a time, which bounds memory.
    """

    @property
    def n_spots(self) -> int: ...

    @property
    def embed_spots(self) -> int: ...

    def to(self, device: torch.device) -> Views:
        """The same views on `device`."""
        ...

    def batches(self, among: Tensor, batch_size: int, generator: Generator) -> Iterator[Tensor]:
        """Batches of one epoch, which name each spot of `among` once; `generator` is on the device of the views."""
        ...

    def reconstruct(self, network: Any, spots: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (b, n_latent) of `spots`, what is decoded from them, and what should have been.

        The latter two are (b, c) or (b, c, cells), expression first. `generator` is for dropout, and on the device of
        the views.
        """
        ...

    def embed(self, network: Any, spots: Tensor) -> Tensor:
        """Embeddings (b, n_latent) of `spots` alone, in evaluation mode."""
        ...

    def grouped(self, method: TripletLabels) -> Tensor:
        """(n, c) scaled features that groups of this kind are found in."""
        ...

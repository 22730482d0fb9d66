"""Encoders that are trained networks of torchvision or timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stalign_core.devices import in_halves
from stalign_core.errors import EncoderError
from stalign_core.images.pixels import Pixels
from stalign_core.morphology.encoders.preprocessing import resize_and_crop
from stalign_core.morphology.encoders.records import EncoderRecord
from stalign_core.morphology.encoders.weights import file_sha256, hub_revision, load_network

if TYPE_CHECKING:
    from torch import Tensor, nn


class NetworkEncoder:
    """A trained network, ready to encode.

    Parameters
    ----------
    record
        The encoder.
    weights
        File of its weights.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    EncoderError
        If the weights cannot be read or do not fit.
    """

    def __init__(self, record: EncoderRecord, weights: Path, device: str) -> None:
        import torch

        self.record = record
        self._device = torch.device(device)
        self._autocast = device == "cuda" and record.cuda_precision != "float32"
        self._network = load_network(lambda: build_network(record), record, weights).to(self._device)
        self._mean = torch.tensor(record.mean, device=self._device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(record.deviation, device=self._device).view(1, 3, 1, 1)
        self._largest_batch: int | None = None
        self._facts = {
            "device": device,
            "precision": record.cuda_precision if device == "cuda" else "float32",
            "weights": weights.name,
            "weights_sha256": file_sha256(weights),
            "weights_revision": hub_revision(weights),
        }

    @property
    def facts(self) -> dict[str, Any]:
        """Device, precision, weights, and the batch size that fitted where memory ran out."""
        return {**self._facts, "batch_size_reduced_to": self._largest_batch}

    def prepare(self, patch: Pixels) -> Pixels:
        """Resize and crop one patch."""
        return resize_and_crop(patch, self.record)

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of prepared patches; where GPU memory runs out, in batches of half the size.

        Parameters
        ----------
        patches
            (n, input_size, input_size, 3) uint8.

        Returns
        -------
        (n, n_features) float32

        Raises
        ------
        EncoderError
            If memory does not hold a single patch, or the network's output is no vector per patch.
        """
        features, fitted = encode_in_halves(self._forward, patches, self._largest_batch or len(patches))
        if fitted < len(patches):
            self._largest_batch = fitted
        if features.shape != (len(patches), self.record.n_features):
            raise EncoderError(
                f"encoder {self.record.name}",
                f"gives an output of shape {features.shape} for {len(patches)} patches",
                expected=f"({len(patches)}, {self.record.n_features})",
            )
        return features

    def _forward(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast),
        ):
            pixels = torch.from_numpy(np.ascontiguousarray(patches)).to(self._device)
            features: Tensor = self._network(self.normalised(pixels))
            return features.float().cpu().numpy()

    def normalised(self, pixels: Tensor) -> Tensor:
        """(n, side, side, 3) uint8 pixels as (n, 3, side, side) float32 inputs of the network."""
        scaled = pixels.permute(0, 3, 1, 2).float().div(255)
        return scaled.sub(self._mean).div(self._deviation)


def encode_in_halves(
    forward: Callable[[NDArray[np.uint8]], NDArray[np.float32]], patches: NDArray[np.uint8], batch_size: int
) -> tuple[NDArray[np.float32], int]:
    """Encode in batches of `batch_size`, halved whenever GPU memory runs out.

    Returns
    -------
    The features, and the batch size that fitted.

    Raises
    ------
    EncoderError
        If memory does not hold a single patch.
    """
    import torch

    try:
        return in_halves(forward, patches, batch_size)
    except torch.cuda.OutOfMemoryError as error:
        raise EncoderError(
            "morphology.device",
            "GPU memory does not hold the encoder and one patch",
            remedy="set morphology.device to 'cpu', or choose a smaller encoder",
        ) from error


def build_network(record: EncoderRecord) -> nn.Module:
    """The network of a record, without weights, ending in its pooled features."""
    import torch
    from torch import nn

    if record.library == "torchvision":
        from torchvision import models

        network: nn.Module = models.get_model(record.architecture, weights=None, init_weights=False, **record.arguments)
        network.fc = nn.Identity()
        return network
    import timm
    from timm import layers

    arguments = dict(record.arguments)
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = getattr(layers, arguments["mlp_layer"])
    if "act_layer" in arguments:
        arguments["act_layer"] = getattr(torch.nn, arguments["act_layer"])
    built: nn.Module = timm.create_model(record.architecture, pretrained=False, **arguments)
    return built

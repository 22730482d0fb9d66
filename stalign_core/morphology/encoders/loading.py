"""What every encoder offers, and how one is made ready from the settings."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stalign_core.devices import Device, resolve_device
from stalign_core.errors import EncoderError
from stalign_core.images.pixels import Pixels
from stalign_core.morphology.encoders.records import Encode, EncoderRecord, Prepare, record_of
from stalign_core.morphology.encoders.weights import find_weights
from stalign_core.settings import EncoderSettings


class Encoder(Protocol):
    """A function from image patches to vectors."""

    record: EncoderRecord

    @property
    def facts(self) -> dict[str, Any]:
        """Device, precision and weights, in plain JSON values."""
        ...

    def prepare(self, patch: Pixels) -> Pixels:
        """A square patch of any side as (input_size, input_size, 3) uint8; safe in several threads."""
        ...

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, input_size, input_size, 3) prepared patches as (n, n_features) features."""
        ...


class PlainEncoder:
    """An encoder without a network: the functions of its record."""

    def __init__(self, record: EncoderRecord, prepare: Prepare, encode: Encode) -> None:
        self.record = record
        self._prepare = prepare
        self._encode = encode

    @property
    def facts(self) -> dict[str, Any]:
        """It runs on the CPU and has no weights."""
        return {
            "device": "cpu",
            "precision": "float32",
            "weights": "",
            "weights_sha256": "",
            "weights_revision": "",
            "batch_size_reduced_to": None,
        }

    def prepare(self, patch: Pixels) -> Pixels:
        """Resize one patch."""
        return self._prepare(patch)

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of prepared patches."""
        return self._encode(patches)


def load_encoder(encoder_name: str, encoder: EncoderSettings, device: Device = "auto") -> Encoder:
    """Make an encoder ready: find its weights, build it, and put it on its device.

    Parameters
    ----------
    encoder_name
        Its name among the study's encoders, for errors.
    encoder
        Model and checkpoint.
    device
        ``auto`` takes a GPU where there is one.

    Raises
    ------
    SettingsError
        If the model is unknown, or ``cuda`` is asked for where there is none.
    EncoderError
        If weights cannot be had, read or fitted.
    """
    record = record_of(encoder.model, f"encoders.{encoder_name}.model")
    if record.prepare is not None and record.encode is not None:
        _refuse_weights(record, encoder_name, encoder)
        return PlainEncoder(record, record.prepare, record.encode)
    from stalign_core.morphology.encoders.network import NetworkEncoder

    weights = find_weights(record, encoder_name, encoder.weights, encoder.revision)
    return NetworkEncoder(record, weights, resolve_device(device, "morphology.device"))


def _refuse_weights(record: EncoderRecord, encoder_name: str, encoder: EncoderSettings) -> None:
    for setting in ("weights", "revision"):
        if getattr(encoder, setting) is not None:
            raise EncoderError(
                f"encoders.{encoder_name}.{setting}",
                f"is set, but {record.name} has no weights",
                remedy="remove the setting",
            )

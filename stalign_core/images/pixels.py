"""From stored samples to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""RGB pixels, (height, width, 3)."""


def to_rgb(samples: NDArray[Any], full_scale: float) -> Pixels:
    """Convert stored samples to 8-bit RGB.

    Grey is repeated, and what is transparent shows the white of an empty slide.

    Parameters
    ----------
    samples
        (height, width, n) with n of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
    full_scale
        Value of full intensity: 255 for 8 bits, 65,535 for 16, 1 for floating point.

    Returns
    -------
    (height, width, 3) uint8
    """
    eight_bit = _to_eight_bits(samples, full_scale)
    n_samples = eight_bit.shape[2]
    color = eight_bit[..., :3] if n_samples >= 3 else np.repeat(eight_bit[..., :1], 3, axis=2)
    if n_samples in (2, 4):
        color = _over_white(color, eight_bit[..., -1:])
    return np.ascontiguousarray(color)


def _to_eight_bits(samples: NDArray[Any], full_scale: float) -> Pixels:
    if samples.dtype == np.uint8 and full_scale == 255:
        return samples
    scaled = np.nan_to_num(samples.astype(np.float32)) * np.float32(255 / full_scale)
    eight_bit: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return eight_bit


def _over_white(color: Pixels, alpha: Pixels) -> Pixels:
    opacity = alpha.astype(np.uint16)
    blended = color.astype(np.uint16) * opacity + 255 * (255 - opacity)
    opaque: Pixels = ((blended + 127) // 255).astype(np.uint8)
    return opaque

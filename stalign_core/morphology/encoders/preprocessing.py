"""From a patch to the pixels that a network sees, as torchvision's transforms on a PIL image make them."""

from __future__ import annotations

import numpy as np

from stalign_core.images.pixels import Pixels
from stalign_core.morphology.encoders.records import EncoderRecord


def resize_and_crop(patch: Pixels, record: EncoderRecord) -> Pixels:
    """Resize a square patch and take its centre: (input_size, input_size, 3) uint8.

    Equal to torchvision's ``Resize`` and ``CenterCrop`` on the same pixels as a PIL image.
    """
    from PIL import Image

    if patch.shape[:2] != (record.resize, record.resize):
        method = Image.Resampling[record.interpolation.upper()]
        patch = np.asarray(Image.fromarray(patch).resize((record.resize, record.resize), method))
    margin = round((record.resize - record.input_size) / 2)
    return patch[margin : margin + record.input_size, margin : margin + record.input_size]

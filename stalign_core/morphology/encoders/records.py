"""The registry of morphology encoders: one record carries everything that decides an encoder's output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import EncoderError, SettingsError
from stalign_core.images.pixels import Pixels
from stalign_core.morphology.encoders import texture

TIMM_PREFIX: Final = "timm:"

Library = Literal["stalign", "torchvision", "timm"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
Precision = Literal["float32", "bfloat16"]
Prepare = Callable[[Pixels], Pixels]
Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderRecord:
    """One encoder.

    Parameters
    ----------
    name
        As in the settings.
    library
        Who builds the network; ``stalign`` for an encoder without one.
    architecture
        The name there.
    arguments
        Keyword arguments there, in plain values.
    resize
        Side to which a patch is resized, in pixels.
    input_size
        Side of the centre crop that the network sees.
    interpolation
        Of the resizing, which smooths where it shrinks.
    mean, deviation
        Subtracted from, and then dividing, each channel in [0, 1].
    n_features
        Length of the vector of a patch.
    hub
        Repository of published weights, on the Hugging Face hub; empty where there are none.
    ignored_weights
        Prefixes of weights that a checkpoint may hold or lack: heads that are not used.
    cuda_precision
        Precision of the network on a GPU; on the CPU it is float32.
    licence
        Of the weights.
    prepare, encode
        Of an encoder without a network: brings a square patch of any side to (input_size, input_size, 3) uint8, in
        several threads at once, and gives (n, input_size, input_size, 3) prepared patches as (n, n_features) features.
    """

    name: str
    library: Library
    architecture: str
    resize: int
    input_size: int
    n_features: int
    licence: str
    arguments: dict[str, Any] = field(default_factory=dict)
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    deviation: tuple[float, float, float] = _IMAGENET_DEVIATION
    hub: str = ""
    ignored_weights: tuple[str, ...] = ()
    cuda_precision: Precision = "float32"
    prepare: Prepare | None = None
    encode: Encode | None = None

    @property
    def needs_weights(self) -> bool:
        """Whether the encoder is a trained network."""
        return self.library != "stalign"

    def to_dict(self) -> dict[str, Any]:
        """The record in plain JSON values, without functions, whose code version counts."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in ("prepare", "encode")
        }


RECORDS: Final[dict[str, EncoderRecord]] = {
    record.name: record
    for record in (
        EncoderRecord(
            name="texture",
            library="stalign",
            architecture="texture",
            resize=texture.SIDE,
            input_size=texture.SIDE,
            n_features=len(texture.FEATURE_NAMES),
            licence="MIT; no weights",
            mean=(0.0, 0.0, 0.0),
            deviation=(1.0, 1.0, 1.0),
            prepare=texture.prepare,
            encode=texture.texture_features,
        ),
        # torchvision's network, trained on inputs of mean and deviation 0.5, converts to those itself
        # (transform_input) from the ImageNet statistics that its published preprocessing applies
        EncoderRecord(
            name="inception_v3",
            library="torchvision",
            architecture="inception_v3",
            arguments={"transform_input": True, "aux_logits": False},
            resize=342,
            input_size=299,
            n_features=2048,
            hub="timm/inception_v3.tv_in1k",
            ignored_weights=("fc.", "AuxLogits."),
            licence="BSD-3-Clause (torchvision); trained on ImageNet",
        ),
        EncoderRecord(
            name="uni2_h",
            library="timm",
            architecture="vit_giant_patch14_224",
            arguments={
                "img_size": 224,
                "patch_size": 14,
                "depth": 24,
                "num_heads": 24,
                "init_values": 1e-5,
                "embed_dim": 1536,
                "mlp_ratio": 5.33334,
                "num_classes": 0,
                "no_embed_class": True,
                "mlp_layer": "SwiGLUPacked",
                "act_layer": "SiLU",
                "reg_tokens": 8,
                "dynamic_img_size": True,
            },
            resize=224,
            input_size=224,
            n_features=1536,
            hub="MahmoodLab/UNI2-h",
            licence="CC-BY-NC-ND 4.0, gated: institutional approval, non-commercial",
            cuda_precision="bfloat16",
        ),
    )
}


def check_model_name(model: str, setting: str) -> None:
    """Refuse what is neither a registered encoder nor ``timm:`` with a name; timm is not asked for it.

    Raises
    ------
    SettingsError
        Naming the registered encoder that was perhaps meant.
    """
    if model not in RECORDS and not model.startswith(TIMM_PREFIX):
        raise SettingsError(
            setting,
            f"'{model}' is not an encoder",
            expected=", ".join(RECORDS) + f" or {TIMM_PREFIX}<model name>",
            remedy=_perhaps(model, RECORDS),
        )


def record_of(model: str, setting: str = "encoders, model") -> EncoderRecord:
    """The record of a registered encoder, or of a timm model by ``timm:<name>`` with its own data settings.

    Parameters
    ----------
    model
        As in the settings.
    setting
        Where it was set, for the error.

    Raises
    ------
    SettingsError
        If there is no such encoder or timm model.
    EncoderError
        If the timm model does not take square RGB images.
    """
    check_model_name(model, setting)
    return RECORDS[model] if model in RECORDS else _timm_record(model, setting)


def _perhaps(name: str, known: Iterable[str]) -> str:
    """What was perhaps meant by a name that is not known."""
    close = get_close_matches(name, list(known))
    return f"did you mean {' or '.join(repr(each) for each in close)}?" if close else ""


def _timm_record(model: str, setting: str) -> EncoderRecord:
    import timm
    import torch

    architecture = model.removeprefix(TIMM_PREFIX)
    if not timm.is_model(architecture):
        raise SettingsError(
            setting,
            f"timm {timm.__version__} has no model '{architecture}'",
            expected="a name that timm.list_models() gives",
            remedy=_perhaps(architecture, timm.list_models()),
        )
    try:
        with torch.device("meta"):
            network = timm.create_model(architecture, pretrained=False, num_classes=0)
    # architectures fail in their own ways when built without a classifier
    except Exception as error:
        raise EncoderError(
            f"encoder {model}",
            f"timm cannot build it without a classifier ({error})",
            expected="an architecture that gives features",
            remedy="choose another model",
        ) from error
    data = timm.data.resolve_model_data_config(network)
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise EncoderError(
            f"encoder {model}",
            f"takes inputs of {channels} x {height} x {width}",
            expected="square RGB images",
        )
    published = network.pretrained_cfg
    classifier = published.get("classifier") or ()
    return EncoderRecord(
        name=model,
        library="timm",
        architecture=architecture,
        arguments={"num_classes": 0},
        resize=int(height / data["crop_pct"]),
        input_size=height,
        interpolation=data["interpolation"],
        mean=tuple(data["mean"]),
        deviation=tuple(data["std"]),
        n_features=getattr(network, "head_hidden_size", network.num_features),
        hub=published.get("hf_hub_id") or "",
        ignored_weights=tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier)),
        licence=published.get("license") or "see the model's card",
    )

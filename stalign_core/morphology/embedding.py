"""From a section and its image to one vector per spot."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.devices import using_device
from stalign_core.errors import ImageError
from stalign_core.images import open_slide
from stalign_core.morphology.encoders import Encoder, EncoderRecord, load_encoder, record_of
from stalign_core.morphology.patches import PatchReader, patch_side, prefetched
from stalign_core.morphology.stain import StainNormaliser, fit_stain
from stalign_core.morphology.stain.tissue import sample_tissue
from stalign_core.progress import Progress, silent
from stalign_core.readers.facts import SampleFacts
from stalign_core.settings import EncoderSettings, MorphologySettings

if TYPE_CHECKING:
    from anndata import AnnData

STAIN_PATCHES: Final = 500
"""Patches of a slide, drawn with a fixed seed, whose tissue the stain is fitted on."""
STAIN_SEED: Final = 0


@dataclass(frozen=True)
class MorphologyEmbedding:
    """The vectors of a section's spots.

    Parameters
    ----------
    features
        (n, n_features) float32; zeros where a spot has no patch.
    observed
        (n,) whether a spot has a patch.
    facts
        Plain JSON values: the encoder's record, device, precision, of a GPU the most memory held, weights with their
        SHA-256 and, where the hub gave them, their commit, the side of a patch in pixels, spots observed and not,
        patches per second; where stains are normalised, what was fitted.
    """

    features: NDArray[np.float32]
    observed: NDArray[np.bool_]
    facts: dict[str, Any] = field(default_factory=dict)


def embed_section(
    section: AnnData,
    encoder_name: str,
    encoder: EncoderSettings,
    settings: MorphologySettings,
    progress: Progress | None = None,
) -> MorphologyEmbedding:
    """Encode the patches of one section; the encoder is loaded only where there is an image.

    For several sections, load the encoder once with `load_encoder` and call `embed_with`.

    Parameters
    ----------
    section
        As the readers give it.
    encoder_name
        Its name among the study's encoders.
    encoder
        Model and checkpoint.
    settings
        Size of a patch, batch size and device.
    progress
        Told the patches done.

    Raises
    ------
    ImageError
        If the image cannot be read.
    EncoderError
        If the encoder's weights cannot be had, read or fitted.
    SettingsError
        If the encoder is unknown.
    """
    if not section.uns[keys.STALIGN]["image"]:
        record = record_of(encoder.model, f"encoders.{encoder_name}.model")
        return without_image(section.n_obs, record)
    return embed_with(load_encoder(encoder_name, encoder, settings.device), section, settings, progress)


def embed_with(
    encoder: Encoder, section: AnnData, settings: MorphologySettings, progress: Progress | None = None
) -> MorphologyEmbedding:
    """Encode the patches of one section with an encoder that is loaded.

    Parameters
    ----------
    encoder
        From `load_encoder`.
    section, settings, progress
        As in `embed_section`.

    Raises
    ------
    ImageError
        If the image cannot be read, or the encoder makes no finite numbers of it.
    EncoderError
        If the encoder fails.
    """
    facts = SampleFacts.from_dict(section.uns[keys.STALIGN])
    if not facts.image:
        return without_image(section.n_obs, encoder.record)
    side = patch_side(settings.patch_diameters, facts.spot_diameter, facts.image_scale)
    centers = np.asarray(section.obsm[keys.SPATIAL], dtype=np.float64) * facts.image_scale
    what = f"encoding patches of {_name(section)}"
    started = time.perf_counter()
    with open_slide(facts.image) as slide:
        reader = PatchReader(slide, centers, side)
        stain = _fit_stain(reader, settings)
        with using_device(encoder.facts["device"], encoder.facts["precision"]) as use:
            features = encode_patches(encoder, reader, settings.batch_size, what, progress or silent, stain)
        image_size = [slide.width, slide.height]
    _check_finite(features, facts.image, encoder.record)
    seconds = time.perf_counter() - started
    return MorphologyEmbedding(
        features=features,
        observed=reader.observed,
        facts={
            "encoder": encoder.record.to_dict(),
            **encoder.facts,
            **use.facts(),
            **({"stain": stain.facts} if stain else {}),
            "image_kind": facts.image_kind,
            "image_size": image_size,
            "patch_pixels": side,
            "batch_size": settings.batch_size,
            "n_observed": reader.n_observed,
            "n_unobserved": section.n_obs - reader.n_observed,
            "seconds": round(seconds, 3),
            "patches_per_second": round(reader.n_observed / seconds, 1),
        },
    )


def _fit_stain(reader: PatchReader, settings: MorphologySettings) -> StainNormaliser | None:
    if settings.stain_normalisation == "none":
        return None
    rng = np.random.default_rng(STAIN_SEED)
    return fit_stain(sample_tissue(reader.sample(STAIN_PATCHES, rng), rng), settings.stain_normalisation)


def _check_finite(features: NDArray[np.float32], image: str, record: EncoderRecord) -> None:
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        raise ImageError(
            image,
            f"encoder {record.name} gives values that are not finite for {int(broken.sum())} of its patches",
            remedy="look at the image there, or choose another encoder",
        )


def without_image(n_spots: int, record: EncoderRecord) -> MorphologyEmbedding:
    """The embedding of a section without an image: zeros, with no spot observed."""
    return MorphologyEmbedding(
        features=np.zeros((n_spots, record.n_features), dtype=np.float32),
        observed=np.zeros(n_spots, dtype=np.bool_),
        facts={
            "encoder": record.to_dict(),
            "image_kind": "none",
            "n_observed": 0,
            "n_unobserved": n_spots,
        },
    )


def _name(section: AnnData) -> str:
    return f"sample {section.obs[keys.SAMPLE].iloc[0]}" if section.n_obs else "a section without spots"


def encode_patches(
    encoder: Encoder,
    reader: PatchReader,
    batch_size: int,
    what: str = "encoding",
    progress: Progress = silent,
    stain: StainNormaliser | None = None,
) -> NDArray[np.float32]:
    """Vectors of all spots, zeros where a spot has no patch: patches are read ahead while the encoder works.

    Parameters
    ----------
    encoder
        From `load_encoder`.
    reader
        The patches.
    batch_size
        Patches per call of the encoder.
    what, progress
        What is told with the patches done.
    stain
        Applied to prepared patches, a batch at a time.

    Returns
    -------
    (n, n_features) float32

    Raises
    ------
    ImageError
        If the image cannot be read.
    EncoderError
        If the encoder fails.
    """
    features = np.zeros((len(reader.observed), encoder.record.n_features), dtype=np.float32)
    n_done = 0
    progress(what, n_done, reader.n_observed)
    for spots, patches in prefetched(reader.batches(batch_size, encoder.prepare)):
        features[spots] = encoder.encode(stain(patches) if stain else patches)
        n_done += len(spots)
        progress(what, n_done, reader.n_observed)
    return features

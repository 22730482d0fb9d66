"""What a slide's stains are, and the map from its colours to those of the reference.

torchstain's own `normalize` fits every image that it transforms, which fails on a patch of one colour and would give
each patch of a slide another map. Here its `fit` sees a sample of the slide's tissue, and all patches share the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stalign_core.morphology.stain.tissue import LEAST_DENSITY, LIGHT, optical_density

StainMethod = Literal["macenko", "reinhard"]

MACENKO_STAINS: Final = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
MACENKO_STRENGTHS: Final = np.array([1.9705, 1.0308])
"""Reference of Macenko et al. (2009): density per (red, green, blue) of haematoxylin and eosin, and the 99th percentile
of their amounts, as published with the authors' Matlab code and kept as torchstain's default."""

REINHARD_MEANS: Final = np.array([158.033 / 2.55, 151.187 - 128, 116.812 - 128])
REINHARD_DEVIATIONS: Final = np.array([36.899 / 2.55, 8.134, 6.129])
"""CIELAB of a mean patch of the colorectal NCT-CRC-HE data, as published with RandStainNA (Shen et al. 2022) in bytes,
(L x 2.55, a + 128, b + 128): means of patches' means, and means of patches' deviations."""

MIN_PIXELS: Final = 100
MIN_ANGLE: Final = 5.0
"""Degrees between the two stains; the reference's are 22 apart."""
MIN_DEVIATION: Final = 0.5
"""Of each CIELAB channel over tissue."""


class _Map(Protocol):
    def __call__(self, patches: NDArray[np.uint8], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class StainNormaliser:
    """A slide's map of colours.

    Attributes
    ----------
    facts
        Plain JSON values: method, tissue pixels seen, what was fitted; ``warning`` where the slide is left as it is.
    """

    facts: dict[str, Any]
    _map: _Map | None = None

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Patches in the reference's colours, each pixel alone: (n, side, side, 3) to the same."""
        return patches if self._map is None else self._map(patches)


def fit_stain(tissue: NDArray[np.uint8], method: StainMethod) -> StainNormaliser:
    """Fit the map of a slide on pixels of its tissue.

    Where that cannot be done, because there is no tissue, one colour or one stain, colours stay as they are, and the
    facts say so under ``warning``.

    Parameters
    ----------
    tissue
        (n, 3) RGB, from `sample_tissue`.
    method
        ``macenko`` or ``reinhard``.
    """
    facts: dict[str, Any] = {"method": method, "n_tissue_pixels": len(tissue)}
    if len(tissue) < MIN_PIXELS:
        return _unchanged(facts, f"{len(tissue)} pixels of tissue were found, fewer than {MIN_PIXELS}")
    return (_fit_macenko if method == "macenko" else _fit_reinhard)(tissue, facts)


def _unchanged(facts: dict[str, Any], reason: str) -> StainNormaliser:
    return StainNormaliser({**facts, "warning": f"stains are left as they are: {reason}"})


def _fit_macenko(tissue: NDArray[np.uint8], facts: dict[str, Any]) -> StainNormaliser:
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

    absorbing = (optical_density(tissue) >= LEAST_DENSITY).all(axis=1)
    if absorbing.sum() < MIN_PIXELS:
        return _unchanged(facts, f"{int(absorbing.sum())} pixels absorb all colours, fewer than {MIN_PIXELS}")
    fitted = NumpyMacenkoNormalizer()
    fitted.fit(tissue[:, None], Io=LIGHT, beta=LEAST_DENSITY)
    stains, strengths = fitted.HERef, fitted.maxCRef
    angle = float(np.degrees(np.arccos(np.clip(stains[:, 0] @ stains[:, 1], -1, 1))))
    if not angle >= MIN_ANGLE:
        return _unchanged(facts, f"its two stains are {angle:.1f} degrees apart, less than {MIN_ANGLE:g}")
    if not (strengths > 0).all():
        return _unchanged(facts, "it shows one stain alone")
    # amounts of stain are linear in density, and so is the whole map: unmix, rescale, mix as in the reference
    matrix = MACENKO_STAINS @ np.diag(MACENKO_STRENGTHS / strengths) @ np.linalg.pinv(stains)
    return StainNormaliser(
        {**facts, "stains": stains.T.tolist(), "strengths": strengths.tolist(), "degrees_apart": angle},
        _Macenko(matrix.astype(np.float32)),
    )


def _fit_reinhard(tissue: NDArray[np.uint8], facts: dict[str, Any]) -> StainNormaliser:
    from torchstain.numpy.normalizers import NumpyReinhardNormalizer

    fitted = NumpyReinhardNormalizer()
    fitted.fit(tissue[:, None])
    means, deviations = fitted.target_means, fitted.target_stds
    if not (deviations >= MIN_DEVIATION).all():
        return _unchanged(facts, f"its tissue has one colour (least deviation in CIELAB {deviations.min():.2g})")
    return StainNormaliser(
        {**facts, "means": means.tolist(), "deviations": deviations.tolist()}, _Reinhard(means, deviations)
    )


@dataclass(frozen=True)
class _Macenko:
    matrix: NDArray[np.float32]

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
        light = np.float32(LIGHT) * np.exp(-(optical_density(patches) @ self.matrix.T)) - 1
        return _to_bytes(light)


@dataclass(frozen=True)
class _Reinhard:
    means: NDArray[np.floating[Any]]
    deviations: NDArray[np.floating[Any]]

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from torchstain.numpy.utils import lab2rgb, lab_merge, lab_split, rgb2lab

        color = patches.astype(np.float32) / 255
        fits = zip(lab_split(rgb2lab(color)), self.means, self.deviations, strict=True)
        moved = [
            ((channel - mean) / deviation * wanted_deviation + wanted_mean).astype(np.float32)
            for (channel, mean, deviation), wanted_mean, wanted_deviation in zip(
                fits, REINHARD_MEANS, REINHARD_DEVIATIONS, strict=True
            )
        ]
        # glass stays glass, and what is half transparent goes half the way: no seam runs along the edge of tissue
        share = np.clip(optical_density(patches[..., 1]) / np.float32(LEAST_DENSITY), 0, 1)[..., None]
        return _to_bytes(255 * (share * lab2rgb(lab_merge(*moved)) + (1 - share) * color))


def _to_bytes(light: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return rounded

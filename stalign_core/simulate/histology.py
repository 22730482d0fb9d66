"""An H&E image of a simulated section: nuclei and fibres that follow its domains, stains that follow its donor.

Light through the section obeys the Beer-Lambert law, so every pixel is ``white * exp(-(h * haematoxylin + e * eosin))``
with the amounts h and e of the two stains and their optical density per colour channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.simulate.counts import smooth_field
from stalign_core.simulate.design import HistologyDesign
from stalign_core.simulate.section import Placement, SimulatedSection
from stalign_core.simulate.tissue import Floats

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

HAEMATOXYLIN: Final = np.array([0.56, 0.72, 0.41])
EOSIN: Final = np.array([0.22, 0.80, 0.56])
"""Optical density per (red, green, blue) of either stain, of the order that Macenko et al. (2009) found on slides."""

WHITE: Final = 243.0
"""Brightness of bare glass."""

BLOCK: Final = 8
"""Side in pixels of the blocks on which geometry is evaluated before it is interpolated."""

TEXTURE_SIDE: Final = 1024
"""Side in pixels of the noise that is tiled over a section."""

MICROMETRES_PER_DISTANCE: Final = 100.0


@dataclass(frozen=True)
class Look:
    """What a domain looks like under the microscope, one entry per domain.

    Attributes
    ----------
    nuclei
        Nuclei per square millimetre.
    radius, elongation
        Mean nuclear radius in um, and long over short axis.
    chromatin
        Haematoxylin in a nucleus (optical density of the strongest channel is about .7 of it).
    eosin
        Eosin in the tissue around nuclei.
    fibres
        Relative strength of fibres along the layers.
    """

    nuclei: Floats
    radius: Floats
    elongation: Floats
    chromatin: Floats
    eosin: Floats
    fibres: Floats


def domain_looks(n_domains: int) -> Look:
    """Looks of the layers from the surface down, white matter and islet.

    Orders of magnitude as in cortex: a molecular layer of few cells, layers alternating between small granular and
    large pyramidal cells at 800 to 1,900 nuclei per square millimetre, white matter of small dark elongated nuclei
    between fibres, and an islet of crowded round pale cells.
    """
    layers = np.arange(n_domains - 2)

    def series(pattern: list[float], white_matter: float, islet: float) -> Floats:
        return np.append(np.array(pattern)[layers % len(pattern)], [white_matter, islet])

    return Look(
        nuclei=series([450, 1700, 1000, 1900, 900, 1300], 1400, 2800),
        radius=series([3.0, 3.4, 4.6, 3.2, 5.0, 4.0], 2.8, 4.2),
        elongation=series([1.2, 1.1, 1.4, 1.1, 1.5, 1.3], 1.9, 1.1),
        chromatin=series([1.5, 1.6, 1.3, 1.6, 1.2, 1.4], 1.8, 1.2),
        eosin=series([0.30, 0.36, 0.40, 0.36, 0.42, 0.40], 0.52, 0.26),
        fibres=series([0.12, 0.08, 0.10, 0.08, 0.12, 0.15], 0.32, 0.05),
    )


@dataclass(frozen=True)
class Stain:
    """How a donor's slides took the stains: (2, 3) densities per channel, haematoxylin first, intensities included."""

    densities: Floats


def draw_donor_stain(histology: HistologyDesign, rng: np.random.Generator) -> Stain:
    """Draw a donor's stain: hue and intensity of either dye around the reference."""
    vectors = np.vstack([HAEMATOXYLIN, EOSIN])
    vectors = np.maximum(vectors + rng.normal(0, histology.donor_hue_sd, vectors.shape), 0.01)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Stain(vectors * np.exp(rng.normal(0, histology.donor_stain_sd, (2, 1))))


def draw_section_stain(stain: Stain, histology: HistologyDesign, rng: np.random.Generator) -> Stain:
    """Draw the stain of one of the donor's sections: the same hues, slightly other intensities."""
    return Stain(stain.densities * np.exp(rng.normal(0, histology.section_stain_sd, (2, 1))))


def render_histology(section: SimulatedSection, stain: Stain, rng: np.random.Generator) -> Image:
    """Render a section at full resolution: (height, width, 3) uint8, glass outside the tissue."""
    placement = section.placement
    blocks = _block_centres(placement)
    points = placement.to_points(blocks.reshape(-1, 2))
    shape = blocks.shape[:2]
    memberships = section.tissue.memberships(points)
    look = domain_looks(memberships.shape[1])

    def full_size(values: Floats) -> Field:
        return _interpolate(values.reshape(shape), placement)

    grain, fibre_noise = _isotropic_texture(rng), _fibre_texture(rng)
    along, across = section.tissue.coordinates(points)
    texture = full_size(memberships @ look.fibres) * _follow(
        fibre_noise, full_size(along * placement.scale), full_size(across * placement.scale)
    )
    texture += 0.12 * _tile(grain, placement)
    thickness = full_size(1 + 0.06 * smooth_field(points, rng))
    edge = full_size(section.tissue.margin(points) * placement.scale) / 3 + 2 * _tile(grain.T, placement)
    covered = np.clip(edge, 0, 1) * thickness

    nuclei = _nuclei(blocks, memberships, look, placement, rng)
    eosin = full_size(memberships @ look.eosin) * np.maximum(1 + texture, 0.1) * (1 - 0.6 * np.minimum(nuclei, 1))
    haematoxylin = nuclei + 0.08 * (1 + texture)
    return _transmit(haematoxylin * covered, eosin * covered, stain, rng)


def _transmit(haematoxylin: Floats | Field, eosin: Floats | Field, stain: Stain, rng: np.random.Generator) -> Image:
    """Send light through the stained section onto a slightly noisy sensor."""
    noise = rng.integers(-2, 3, size=haematoxylin.shape, dtype=np.int16).astype(np.float32)
    densities = stain.densities.astype(np.float32)
    image: Image = np.empty((*haematoxylin.shape, 3), dtype=np.uint8)
    for channel in range(3):
        light = np.exp(-(haematoxylin * densities[0, channel] + eosin * densities[1, channel]))
        image[..., channel] = np.clip(WHITE * light + noise, 0, 255)
    return image


def _block_centres(placement: Placement) -> Floats:
    """Pixel (x, y) of the middle of every block: (n_block_rows, n_block_columns, 2)."""
    x = (np.arange(-(-placement.width // BLOCK)) + 0.5) * BLOCK
    y = (np.arange(-(-placement.height // BLOCK)) + 0.5) * BLOCK
    return np.stack(np.meshgrid(x, y), axis=-1)


def _interpolate(block_values: Floats, placement: Placement) -> Field:
    """Bilinear interpolation from block centres to pixels."""
    from PIL import Image as Pillow

    height, width = block_values.shape
    picture = Pillow.fromarray(block_values.astype(np.float32))
    full = picture.resize((width * BLOCK, height * BLOCK), Pillow.Resampling.BILINEAR)
    return np.asarray(full)[: placement.height, : placement.width]


def _isotropic_texture(rng: np.random.Generator) -> Field:
    """Seamless fine grain of unit variance."""
    return _filtered_noise((1.5, 1.5), rng)


def _fibre_texture(rng: np.random.Generator) -> Field:
    """Seamless strands along the second axis, of unit variance."""
    return _filtered_noise((1.3, 16.0), rng)


def _filtered_noise(widths: tuple[float, float], rng: np.random.Generator) -> Field:
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal((TEXTURE_SIDE, TEXTURE_SIDE), dtype=np.float32)
    smooth = gaussian_filter(white, widths, mode="wrap")
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _tile(texture: Field, placement: Placement) -> Field:
    """Cover the image with a seamless texture."""
    rows = np.arange(placement.height) % TEXTURE_SIDE
    columns = np.arange(placement.width) % TEXTURE_SIDE
    return texture[np.ix_(rows, columns)]


def _follow(texture: Field, along: Field, across: Field) -> Field:
    """Lay a texture's second axis along the layers: strands bend with them."""
    return texture[across.astype(np.int32) % TEXTURE_SIDE, along.astype(np.int32) % TEXTURE_SIDE]


def _nuclei(blocks: Floats, memberships: Floats, look: Look, placement: Placement, rng: np.random.Generator) -> Field:
    """Haematoxylin bound in nuclei, per pixel: ellipses scattered at each domain's density and in its sizes.

    Every nucleus takes its kind from one domain, drawn by that domain's share at its place, so a border mixes
    cells of both sides instead of averaging them.
    """
    pixels_per_um = placement.scale / MICROMETRES_PER_DISTANCE
    block_area = (BLOCK / pixels_per_um / 1000) ** 2
    numbers = rng.poisson(np.maximum(memberships, 0) * look.nuclei * block_area)
    block, kind = (np.repeat(index.ravel(), numbers.ravel()) for index in np.indices(numbers.shape))
    centres = blocks.reshape(-1, 2)[block] + rng.uniform(-BLOCK / 2, BLOCK / 2, (len(block), 2))
    radius = look.radius[kind] * np.exp(rng.normal(0, 0.18, len(kind))) * pixels_per_um
    stretch = np.sqrt(look.elongation[kind])
    turn = rng.uniform(0, np.pi, len(kind))
    chromatin = look.chromatin[kind] * np.exp(rng.normal(0, 0.15, len(kind)))

    reach = int(np.ceil(3 * look.radius.max() * pixels_per_um))
    steps = np.arange(-reach, reach + 1)
    shift_x, shift_y = (part.ravel() for part in np.meshgrid(steps, steps))
    corner = np.floor(centres).astype(np.int32)
    x, y = corner[:, :1] + shift_x, corner[:, 1:] + shift_y
    from_x, from_y = x - centres[:, :1], y - centres[:, 1:]
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    long_axis = (cosine * from_x + sine * from_y) / (radius * stretch)[:, None]
    short_axis = (cosine * from_y - sine * from_x) / (radius / stretch)[:, None]
    sharpness = radius[:, None]
    amount = chromatin[:, None] * np.clip(0.5 + sharpness * (1 - np.hypot(long_axis, short_axis)), 0, 1)

    canvas = np.zeros((placement.height, placement.width), dtype=np.float32)
    seen = (amount > 0) & (x >= 0) & (x < placement.width) & (y >= 0) & (y < placement.height)
    np.maximum.at(canvas, (y[seen], x[seen]), amount[seen].astype(np.float32))
    return canvas

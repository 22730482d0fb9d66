"""Lattice, outline and domains of a section, as functions of position.

Positions are in spot distances (100 um): a point (x, y) lies x right of and y below the lattice's first spot. Domains
are functions of any point, so that counts (at spots) and histology (at pixels) see one and the same tissue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stalign_core.simulate.design import CohortDesign

Floats = NDArray[np.float64]

ROW_STEP: Final = np.sqrt(3) / 2
"""Distance between rows of a hexagonal lattice, in spot distances."""

OUTLINE_HARMONICS: Final = np.arange(2, 10)
"""Lobes per turn of the waves that make the outline ragged."""

OUTLINE_WAVE: Final = 0.025
"""Spread of the height of each wave, relative to the radius."""

OUTLINE_EXPONENT: Final = 4.0
"""Exponent of the superellipse under the waves: between an ellipse (2) and a rectangle."""


@dataclass(frozen=True)
class Lattice:
    """A hexagonal Visium lattice, row by row.

    Attributes
    ----------
    array_row, array_col
        (n,) int32; a spot's column has the parity of its row.
    positions
        (n, 2) float, (x, y) in spot distances.
    """

    array_row: NDArray[np.int32]
    array_col: NDArray[np.int32]
    positions: Floats


def hexagonal_lattice(n_rows: int, n_columns: int) -> Lattice:
    """Lay out `n_rows` rows of `n_columns` spots, every other row shifted by half a distance."""
    row, index = (part.ravel() for part in np.mgrid[0:n_rows, 0:n_columns])
    column = 2 * index + row % 2
    positions = np.column_stack([column / 2, row * ROW_STEP])
    return Lattice(row.astype(np.int32), column.astype(np.int32), positions)


@dataclass(frozen=True)
class TissueShape:
    """What makes one donor's tissue differ from another's; a section's is a jittered copy.

    Lengths are relative to half the mean side of the lattice, angles in radians.
    """

    angle: float
    curvature: float
    wave_height: float
    wave_frequency: float
    wave_phase: float
    outline_waves: Floats
    outline_phases: Floats
    islet_offset: float
    islet_depth: float
    islet_phase: float
    proportions: Floats


def draw_donor_shape(design: CohortDesign, rng: np.random.Generator) -> TissueShape:
    """Draw the geometry of a donor's tissue."""
    layers = np.full(design.n_domains - 1, (1 - design.tissue.islet_fraction) / (design.n_domains - 1))
    means = np.append(layers, design.tissue.islet_fraction)
    return TissueShape(
        angle=rng.normal(0, 0.4),
        curvature=rng.uniform(-0.35, 0.35),
        wave_height=rng.uniform(0.05, 0.14),
        wave_frequency=rng.uniform(2.0, 4.5),
        wave_phase=rng.uniform(0, 2 * np.pi),
        outline_waves=rng.normal(0, OUTLINE_WAVE, len(OUTLINE_HARMONICS)),
        outline_phases=rng.uniform(0, 2 * np.pi, len(OUTLINE_HARMONICS)),
        islet_offset=rng.uniform(-0.4, 0.4),
        islet_depth=rng.uniform(0.35, 0.65),
        islet_phase=rng.uniform(0, 2 * np.pi),
        proportions=_proportions_near(means, design.tissue.proportion_concentration, rng),
    )


def jitter_shape(shape: TissueShape, jitter: float, concentration: float, rng: np.random.Generator) -> TissueShape:
    """Move a donor's geometry a little, as the next section of the same block does.

    Parameters
    ----------
    jitter
        Departure relative to the spread between donors.
    concentration
        Dirichlet concentration of the donors' proportions; a section's shares spread `jitter` times as
        far, which takes ``1 / jitter**2`` the concentration.
    """
    return replace(
        shape,
        angle=shape.angle + rng.normal(0, 0.4 * jitter),
        curvature=shape.curvature + rng.normal(0, 0.2 * jitter),
        wave_phase=shape.wave_phase + rng.normal(0, 1.5 * jitter),
        outline_waves=shape.outline_waves + rng.normal(0, OUTLINE_WAVE * jitter, len(OUTLINE_HARMONICS)),
        islet_offset=shape.islet_offset + rng.normal(0, 0.25 * jitter),
        islet_phase=shape.islet_phase + rng.normal(0, jitter),
        proportions=_proportions_near(shape.proportions, concentration / max(jitter, 1e-3) ** 2, rng),
    )


def _proportions_near(means: Floats, concentration: float, rng: np.random.Generator) -> Floats:
    """Draw shares around `means`; none falls below half its mean, so that every domain is in every section."""
    drawn = np.maximum(rng.dirichlet(concentration * means), means / 2)
    return np.asarray(drawn / drawn.sum())


@dataclass(frozen=True)
class Tissue:
    """One section's tissue as functions of position; `fit_tissue` makes it.

    Attributes
    ----------
    shape
        The section's geometry.
    centre
        (2,) middle of the lattice, in spot distances.
    half_size
        (2,) half its width and height.
    outline_level
        Value of the outline function at the edge.
    layer_levels
        (n_layers - 1,) depths at which layers meet.
    islet_centre, islet_level
        Middle of the islet and its mean radius, relative to half the mean side.
    border_width
        Width of the transition between domains, in spot distances.
    """

    shape: TissueShape
    centre: Floats
    half_size: Floats
    outline_level: float
    layer_levels: Floats
    islet_centre: Floats
    islet_level: float
    border_width: float

    @property
    def scale(self) -> float:
        """Half the mean side of the lattice, in spot distances."""
        return float(self.half_size.mean())

    def margin(self, points: Floats) -> Floats:
        """Distance of (n, 2) points inside the edge of the tissue, in spot distances; negative outside."""
        return (self.outline_level - _outline(self.shape, self.centre, self.half_size, points)) * self.scale

    def coordinates(self, points: Floats) -> tuple[Floats, Floats]:
        """Along and across the layers: two (n,) arrays in spot distances."""
        along, depth, _ = _depth(self.shape, self.centre, self.scale, points)
        return along * self.scale, depth * self.scale

    def memberships(self, points: Floats) -> Floats:
        """Share of every domain at (n, 2) points: (n, n_domains), rows sum to one, the islet last."""
        _, depth, slope = _depth(self.shape, self.centre, self.scale, points)
        per_level = self.scale / (self.border_width * np.sqrt(1 + slope**2))
        below = expit((depth[:, None] - self.layer_levels) * per_level[:, None])
        ones, zeros = np.ones((len(points), 1)), np.zeros((len(points), 1))
        layers = np.hstack([ones, below]) - np.hstack([below, zeros])
        distance = _islet_distance(self.shape, self.islet_centre, self.scale, points)
        islet = expit((self.islet_level - distance) * self.scale / self.border_width)[:, None]
        return np.hstack([layers * (1 - islet), islet])


def fit_tissue(shape: TissueShape, lattice: Lattice, design: CohortDesign) -> Tissue:
    """Set outline, layers and islet so that the section has the intended shares of its spots."""
    points = lattice.positions
    half_size = np.ptp(points, axis=0) / 2
    centre = points.min(axis=0) + half_size
    scale = float(half_size.mean())
    outline = _outline(shape, centre, half_size, points)
    outline_level = float(np.quantile(outline, design.tissue.tissue_fraction))
    inside = points[outline <= outline_level]

    _, depth, _ = _depth(shape, centre, scale, inside)
    islet_centre = _islet_centre(shape, centre, scale, float(np.quantile(depth, shape.islet_depth)))
    distance = _islet_distance(shape, islet_centre, scale, inside)
    islet_level = float(np.quantile(distance, shape.proportions[-1]))
    layer_shares = shape.proportions[:-1] / shape.proportions[:-1].sum()
    layer_levels = np.quantile(depth[distance > islet_level], np.cumsum(layer_shares)[:-1])
    return Tissue(
        shape=shape,
        centre=centre,
        half_size=half_size,
        outline_level=outline_level,
        layer_levels=layer_levels,
        islet_centre=islet_centre,
        islet_level=islet_level,
        border_width=max(design.tissue.border_width, 1e-6),
    )


def _outline(shape: TissueShape, centre: Floats, half_size: Floats, points: Floats) -> Floats:
    """Radius of a superellipse through each point, divided by a wavy edge: grows outwards."""
    x, y = ((points - centre) / half_size).T
    turn = np.arctan2(y, x)
    phases = np.multiply.outer(turn, OUTLINE_HARMONICS) + shape.outline_phases
    edge = 1 + np.cos(phases) @ shape.outline_waves
    radius = (np.abs(x) ** OUTLINE_EXPONENT + np.abs(y) ** OUTLINE_EXPONENT) ** (1 / OUTLINE_EXPONENT)
    return np.asarray(radius / np.maximum(edge, 0.3))


def _depth(shape: TissueShape, centre: Floats, scale: float, points: Floats) -> tuple[Floats, Floats, Floats]:
    """Position along the layers, depth across them, and the depth's slope along them."""
    x, y = ((points - centre) / scale).T
    along = np.cos(shape.angle) * x + np.sin(shape.angle) * y
    across = np.cos(shape.angle) * y - np.sin(shape.angle) * x
    wave = shape.wave_frequency * along + shape.wave_phase
    depth = across + shape.curvature * along**2 + shape.wave_height * np.sin(wave)
    slope = 2 * shape.curvature * along + shape.wave_height * shape.wave_frequency * np.cos(wave)
    return along, depth, slope


def _islet_centre(shape: TissueShape, centre: Floats, scale: float, depth: float) -> Floats:
    """The point at `shape.islet_offset` along the layers and at `depth`."""
    along = shape.islet_offset
    wave = shape.wave_frequency * along + shape.wave_phase
    across = depth - shape.curvature * along**2 - shape.wave_height * np.sin(wave)
    x = np.cos(shape.angle) * along - np.sin(shape.angle) * across
    y = np.sin(shape.angle) * along + np.cos(shape.angle) * across
    return centre + scale * np.array([x, y])


def _islet_distance(shape: TissueShape, islet_centre: Floats, scale: float, points: Floats) -> Floats:
    """Distance to the islet's middle, relative to its lobed edge."""
    x, y = ((points - islet_centre) / scale).T
    edge = 1 + 0.2 * np.cos(3 * np.arctan2(y, x) + shape.islet_phase)
    return np.asarray(np.hypot(x, y) / edge)

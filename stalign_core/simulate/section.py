"""One simulated section in memory: counts, lattice, pixels and the truth about its domains.

Nothing here touches a disk, so a section of any size can be streamed, with or without its image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from stalign_core import keys
from stalign_core.simulate.counts import (
    draw_compositions,
    draw_counts,
    draw_donor_effect,
    draw_library_sizes,
    draw_programme,
    draw_section_effect,
)
from stalign_core.simulate.design import CohortDesign, HistologyDesign
from stalign_core.simulate.tissue import (
    Floats,
    Lattice,
    Tissue,
    draw_donor_shape,
    fit_tissue,
    hexagonal_lattice,
    jitter_shape,
)

if TYPE_CHECKING:
    from anndata import AnnData

SPOT_DIAMETER: Final = 0.7
"""Spot diameter over spot distance as Space Ranger reports it (.695 and .700 in two public outputs)."""

FIDUCIAL_DIAMETER: Final = 1.5
"""Fiducial diameter over spot diameter in Space Ranger's scale factors."""

LARGEST_TURN: Final = np.radians(0.4)
"""Largest rotation of the slide under the microscope."""

BARCODE_LENGTH: Final = 16
_BARCODE_SHUFFLE: Final = 2_654_435_761
"""An odd number: multiplying by it modulo 4^16 permutes the barcodes, so that neighbours look unrelated."""

_PROGRAMME, _DONOR, _SECTION = range(3)
_SHAPE, _EFFECTS, _SPOTS, _IMAGE, _FILES = range(5)


@dataclass(frozen=True)
class Placement:
    """Where the lattice lies on the full-resolution image.

    Attributes
    ----------
    scale
        Pixels per spot distance.
    turn
        Rotation in radians.
    offset
        (2,) pixel (x, y) of the lattice's first spot.
    width, height
        Size of the full-resolution image in pixels.
    """

    scale: float
    turn: float
    offset: Floats
    width: int
    height: int

    def to_pixels(self, points: Floats) -> Floats:
        """Map (n, 2) points in spot distances to full-resolution pixels (x, y)."""
        return points @ self._rotation.T * self.scale + self.offset

    def to_points(self, pixels: Floats) -> Floats:
        """Inverse of `to_pixels`."""
        return (pixels - self.offset) / self.scale @ self._rotation

    @property
    def _rotation(self) -> Floats:
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return np.array([[cosine, -sine], [sine, cosine]])


@dataclass(frozen=True)
class SimulatedSection:
    """A section and the truth behind it.

    Attributes
    ----------
    sample, donor
        Names.
    genes
        One row per gene: gene_id, symbol.
    lattice, in_tissue, barcodes, pixels
        All spots of the capture area: positions, (n,) bool, (n,) str, (n, 2) full-resolution (x, y).
    counts
        (n_tissue, n_genes) CSR int32, spots under tissue in lattice order.
    domain
        (n_tissue,) name of the domain with the largest share.
    memberships
        (n_tissue, n_domains) share of every domain.
    tissue, placement
        The geometry as functions, for the histology.
    """

    sample: str
    donor: str
    genes: pd.DataFrame
    lattice: Lattice
    in_tissue: NDArray[np.bool_]
    barcodes: NDArray[np.str_]
    pixels: Floats
    counts: sparse.csr_matrix
    domain: NDArray[np.str_]
    memberships: Floats
    tissue: Tissue
    placement: Placement

    @property
    def spot_diameter(self) -> float:
        """Diameter of a spot in full-resolution pixels."""
        return SPOT_DIAMETER * self.placement.scale

    @property
    def tissue_barcodes(self) -> NDArray[np.str_]:
        """Barcodes of the spots under tissue, in the order of `counts`."""
        return self.barcodes[self.in_tissue]

    def with_genes(self, kept: NDArray[np.bool_]) -> SimulatedSection:
        """The section as a panel that measures only the `kept` genes would have seen it."""
        return replace(self, genes=self.genes[kept].reset_index(drop=True), counts=self.counts[:, kept])

    def to_anndata(self) -> AnnData:
        """The section in the form that the readers give, with the truth as its labels."""
        from anndata import AnnData

        from stalign_core.readers.facts import SampleFacts

        facts = SampleFacts(
            lattice="hexagonal",
            key_space="ensembl",
            image="",
            image_kind="none",
            image_scale=0.0,
            spot_diameter=self.spot_diameter,
            n_spots_off_tissue=int((~self.in_tissue).sum()),
            warnings=[],
            sources=[],
        )
        obs = pd.DataFrame(
            {
                keys.SAMPLE: self.sample,
                keys.DONOR: self.donor,
                keys.BARCODE: self.tissue_barcodes,
                keys.LABEL: self.domain,
                keys.ARRAY_ROW: self.lattice.array_row[self.in_tissue],
                keys.ARRAY_COL: self.lattice.array_col[self.in_tissue],
            },
            index=pd.Index(self.tissue_barcodes.astype(object)),
        )
        var = pd.DataFrame(
            {keys.SYMBOL: self.genes["symbol"].to_numpy()}, index=pd.Index(self.genes["gene_id"].to_numpy())
        )
        return AnnData(
            self.counts,
            obs=obs,
            var=var,
            obsm={keys.SPATIAL: self.pixels[self.in_tissue]},
            uns={keys.STALIGN: facts.to_dict()},
        )


def simulate_section(design: CohortDesign, donor_index: int, section_index: int, seed: int = 0) -> SimulatedSection:
    """Simulate one section of a cohort.

    Every part has a random stream of its own, named by seed, donor, section and purpose: a section comes out the same
    alone or within a cohort of any number of donors, and its counts do not depend on whether an image is drawn.

    Parameters
    ----------
    design
        The cohort.
    donor_index, section_index
        Which section, counted from 0.
    seed
        Seed of the cohort.
    """
    programme = draw_programme(design, random_stream(seed, _PROGRAMME))
    donor = draw_donor_effect(design, random_stream(seed, _DONOR, donor_index, _EFFECTS))
    section = draw_section_effect(design, random_stream(seed, _SECTION, donor_index, section_index, _EFFECTS))

    geometry = random_stream(seed, _SECTION, donor_index, section_index, _SHAPE)
    shape = jitter_shape(
        draw_donor_shape(design, random_stream(seed, _DONOR, donor_index, _SHAPE)),
        design.tissue.section_jitter,
        design.tissue.proportion_concentration,
        geometry,
    )
    lattice = hexagonal_lattice(design.lattice_rows, design.lattice_columns)
    tissue = fit_tissue(shape, lattice, design)
    placement = _place(lattice, design.histology, geometry)
    in_tissue = tissue.margin(lattice.positions) >= 0
    positions = lattice.positions[in_tissue]
    memberships = tissue.memberships(positions)

    spots = random_stream(seed, _SECTION, donor_index, section_index, _SPOTS)
    library_sizes = draw_library_sizes(memberships, positions, programme, section, design.expression, spots)
    compositions = draw_compositions(memberships, positions, programme, donor, design.expression, spots)
    return SimulatedSection(
        sample=design.sample(donor_index, section_index),
        donor=design.donor(donor_index),
        genes=gene_table(design.n_genes),
        lattice=lattice,
        in_tissue=in_tissue,
        barcodes=lattice_barcodes(len(lattice.positions)),
        pixels=placement.to_pixels(lattice.positions),
        counts=draw_counts(memberships, compositions, library_sizes, programme, donor, section, spots),
        domain=np.array(design.domains)[memberships.argmax(axis=1)],
        memberships=memberships,
        tissue=tissue,
        placement=placement,
    )


def simulate_sections(design: CohortDesign, seed: int = 0) -> Iterator[SimulatedSection]:
    """Simulate a cohort's sections one after the other, donor by donor, holding one at a time."""
    for donor_index in range(design.n_donors):
        for section_index in range(design.sections_per_donor):
            yield simulate_section(design, donor_index, section_index, seed)


def random_stream(seed: int, *path: int) -> np.random.Generator:
    """The random stream of one purpose: independent of every other path, whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))


def donor_stain_stream(seed: int, donor_index: int) -> np.random.Generator:
    """The stream that a donor's stain is drawn from."""
    return random_stream(seed, _DONOR, donor_index, _IMAGE)


def image_stream(seed: int, donor_index: int, section_index: int) -> np.random.Generator:
    """The stream that a section's image is drawn from."""
    return random_stream(seed, _SECTION, donor_index, section_index, _IMAGE)


def file_stream(seed: int, donor_index: int, section_index: int) -> np.random.Generator:
    """The stream that decides which genes and annotations a section's files leave out."""
    return random_stream(seed, _SECTION, donor_index, section_index, _FILES)


def gene_table(n_genes: int) -> pd.DataFrame:
    """Identifiers in Ensembl's form, from a range that Ensembl has not used, and made-up symbols."""
    return pd.DataFrame(
        {
            "gene_id": [f"ENSG99{gene:09d}" for gene in range(n_genes)],
            "symbol": [f"SIM{gene:05d}" for gene in range(n_genes)],
        }
    )


def lattice_barcodes(n_spots: int) -> NDArray[np.str_]:
    """A barcode for every place of the lattice, the same on every slide, as on real slides of one kind."""
    shuffled = (np.arange(1, n_spots + 1, dtype=np.uint64) * np.uint64(_BARCODE_SHUFFLE)) % np.uint64(4**BARCODE_LENGTH)
    powers = np.uint64(4) ** np.arange(BARCODE_LENGTH, dtype=np.uint64)
    letters = np.array(list("ACGT"))[(shuffled[:, None] // powers % np.uint64(4)).astype(int)]
    return np.array(["".join(row) + "-1" for row in letters])


def _place(lattice: Lattice, histology: HistologyDesign, rng: np.random.Generator) -> Placement:
    """Put the lattice on glass: a margin, a small turn and an offset that no pixel grid knows of."""
    turn = rng.uniform(-LARGEST_TURN, LARGEST_TURN)
    unplaced = Placement(histology.spot_distance_pixels, turn, np.zeros(2), 0, 0)
    turned = unplaced.to_pixels(lattice.positions)
    offset = histology.margin_pixels - turned.min(axis=0) + rng.uniform(0, 1, 2)
    width, height = np.ceil(np.ptp(turned, axis=0) + 2 * histology.margin_pixels + 1).astype(int)
    return replace(unplaced, offset=offset, width=int(width), height=int(height))

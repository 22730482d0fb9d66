from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stalign_core.simulate import CohortDesign, simulate_section, simulate_sections
from stalign_core.simulate.section import Placement, lattice_barcodes
from stalign_core.simulate.tissue import hexagonal_lattice


def test_lattice_columns_have_their_rows_parity_and_places_are_unique() -> None:
    lattice = hexagonal_lattice(5, 7)
    assert ((lattice.array_row + lattice.array_col) % 2 == 0).all()
    assert lattice.array_col.max() == 13
    assert len(set(zip(lattice.array_row.tolist(), lattice.array_col.tolist(), strict=True))) == 35


def test_an_inner_spot_has_six_neighbours_at_one_distance() -> None:
    lattice = hexagonal_lattice(5, 5)
    inner = np.flatnonzero((lattice.array_row == 2) & (lattice.array_col == 4))[0]
    distances, _ = cKDTree(lattice.positions).query(lattice.positions[inner], k=8)
    np.testing.assert_allclose(distances[1:7], 1.0)
    assert distances[7] == pytest.approx(np.sqrt(3))


def test_pixels_keep_the_lattices_shape_and_can_be_inverted() -> None:
    section = simulate_section(CohortDesign(n_genes=50, lattice_rows=12, lattice_columns=12), 0, 0)
    distances, _ = cKDTree(section.pixels).query(section.pixels, k=2)
    np.testing.assert_allclose(distances[:, 1], 64.0)
    assert section.spot_diameter == pytest.approx(44.8)
    np.testing.assert_allclose(section.placement.to_points(section.pixels), section.lattice.positions, atol=1e-9)


def test_a_quarter_turn_maps_right_to_down() -> None:
    placement = Placement(scale=10, turn=np.pi / 2, offset=np.array([3.0, 4.0]), width=1, height=1)
    np.testing.assert_allclose(placement.to_pixels(np.array([[1.0, 0.0], [0.0, 2.0]])), [[3, 14], [-17, 4]], atol=1e-12)


def test_every_spot_lies_on_the_image_with_its_whole_disc() -> None:
    section = simulate_section(CohortDesign(n_genes=50), 1, 1)
    radius = section.spot_diameter / 2
    assert (section.pixels >= radius).all()
    assert (section.pixels <= np.array([section.placement.width, section.placement.height]) - radius).all()


def test_barcodes_are_unique_sixteen_letters_with_a_suffix() -> None:
    barcodes = lattice_barcodes(5000)
    assert len(set(barcodes)) == 5000
    assert all(len(barcode) == 18 and set(barcode[:16]) <= set("ACGT") and barcode[16:] == "-1" for barcode in barcodes)


@pytest.mark.parametrize("n_domains", [3, 5, 6, 7])
def test_every_domain_is_in_every_section(n_domains: int) -> None:
    design = CohortDesign(n_domains=n_domains, n_genes=50)
    for section in simulate_sections(design, seed=3):
        names, counts = np.unique(section.domain, return_counts=True)
        assert set(names) == set(design.domains)
        assert counts.min() >= 10


def test_tissue_covers_the_intended_share_and_is_ragged() -> None:
    design = CohortDesign(n_genes=50)
    section = simulate_section(design, 0, 0)
    assert section.in_tissue.mean() == pytest.approx(design.tissue.tissue_fraction, abs=0.005)
    per_row = [section.in_tissue[section.lattice.array_row == row].sum() for row in range(design.lattice_rows)]
    assert len(set(per_row)) > 5


def test_border_spots_are_mixtures_and_inner_spots_pure() -> None:
    section = simulate_section(CohortDesign(n_genes=50), 0, 0)
    largest = section.memberships.max(axis=1)
    np.testing.assert_allclose(section.memberships.sum(axis=1), 1)
    assert (section.memberships >= 0).all()
    assert 0.03 < (largest < 0.75).mean() < 0.4
    assert (largest > 0.95).mean() > 0.4


def test_sections_of_a_donor_resemble_each_other_more_than_other_donors() -> None:
    design = CohortDesign(n_genes=50)

    def map_of(donor: int, section: int) -> np.ndarray:
        simulated = simulate_section(design, donor, section, seed=5)
        return np.asarray(simulated.tissue.memberships(simulated.lattice.positions).argmax(axis=1))

    within = np.mean([(map_of(donor, 0) == map_of(donor, 1)).mean() for donor in range(3)])
    between = np.mean([(map_of(a, 0) == map_of(b, 0)).mean() for a, b in [(0, 1), (0, 2), (1, 2)]])
    assert within > between + 0.15

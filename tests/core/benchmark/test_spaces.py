"""What the arms that train nothing cluster: means over neighbours, of their own method's space."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stalign_core.benchmark.arms import STANDARDISED, Arm, Trial, arms_of
from stalign_core.benchmark.group import Group, Section
from stalign_core.benchmark.trial import space_of
from stalign_core.settings import CorrectionMethod, parse_settings

SETTINGS = parse_settings({"expression": {"n_top_genes": 40, "n_components": 4, "min_spots_per_gene": 1}})
GENES = np.array([f"G{i}" for i in range(60)], dtype=object)
SIDE = 9


def section(donor: str, seed: int) -> Section:
    """Of a donor who has some genes several times as high as others have."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 8.0, len(GENES))
    lattice = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2).astype(np.int32)
    n_spots = len(lattice)
    return Section(
        sample=f"{donor}_S1",
        donor=donor,
        counts=csr_matrix(rng.poisson(level, (n_spots, len(GENES))).astype(np.float32)),
        genes=GENES,
        symbols=GENES,
        barcode=np.array([f"b{i}" for i in range(n_spots)], dtype=object),
        labels=np.full(n_spots, "x", dtype=object),
        lattice=lattice,
        positions=lattice.astype(np.float64),
        hexagonal=False,
        morphology={},
        external={},
    )


@pytest.fixture(scope="module")
def two_donors() -> Group:
    """A section of each."""
    return Group([section("A", 1), section("B", 2)], SETTINGS)


def corrected(group: Group, method: CorrectionMethod) -> np.ndarray:  # type: ignore[type-arg]
    return group.correct(method, "pca", SETTINGS, 0).features


def apart(group: Group, space: np.ndarray) -> float:  # type: ignore[type-arg]
    """Distance of the donors' centres over the spread of all spots."""
    centres = [space[group.donors == donor].mean(axis=0) for donor in ("A", "B")]
    return float(np.linalg.norm(centres[0] - centres[1]) / np.linalg.norm(space.std(axis=0)))


@pytest.mark.parametrize("method", ["uncorrected", STANDARDISED])
def test_the_mean_over_neighbours_is_of_the_space_that_the_method_gives(two_donors: Group, method: str) -> None:
    given = corrected(two_donors, method)
    space = space_of(two_donors, Trial(Arm(method, "neighbors"), {}, 0, 0), given, 2)
    np.testing.assert_array_equal(space, two_donors.neighbor_mean(given))


def test_means_of_uncorrected_expression_keep_the_donors_apart_and_the_standardised_ones_do_not(
    two_donors: Group,
) -> None:
    found = {}
    for method in ("uncorrected", STANDARDISED):
        trial = Trial(Arm(method, "neighbors"), {}, 0, 0)
        found[method] = apart(two_donors, space_of(two_donors, trial, corrected(two_donors, method), 2))
    assert found["uncorrected"] > 1.5
    assert found[STANDARDISED] < 0.1


def test_standardised_expression_has_genes_standardised_within_samples_whatever_the_study_says() -> None:
    sections = [section("A", 1), section("B", 2)]
    group = Group(sections, parse_settings({"expression": {**SETTINGS.expression.model_dump(), "scaling": "cohort"}}))
    assert apart(group, corrected(group, STANDARDISED)) < 0.1


def test_the_fields_baseline_is_compared_wherever_means_over_neighbours_are() -> None:
    baseline = Arm(STANDARDISED, "neighbors")
    assert baseline.name == "sample_standardised+neighbors"
    assert arms_of(parse_settings({}), ["texture"], []).count(baseline) == 1
    with_methods = parse_settings({"benchmark": {"methods": ["harmony"], "models": ["neighbors"]}})
    assert arms_of(with_methods, ["texture"], []) == [Arm("harmony", "neighbors"), baseline]
    without = parse_settings({"benchmark": {"models": ["alone", "aestetik"]}})
    assert not any(arm.method == STANDARDISED for arm in arms_of(without, ["texture"], []))

"""Negative-binomial counts of a section: programmes of domains and cell types under donor and section effects.

The expected share of gene g in spot s is proportional to

    exp(base_g + donor_g + section_g) * [sum_d membership_sd exp(domain_dg)] * [sum_t composition_st exp(cell_type_tg)]

and the count is negative binomial around that share of the spot's library size, with variance ``mean + phi_g mean^2``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from stalign_core.simulate.design import CohortDesign, ExpressionDesign

Floats = NDArray[np.float64]

VALUES_PER_CHUNK = 2_000_000
"""Counts drawn at a time: bounds memory to some tens of MiB whatever the section's size."""


@dataclass(frozen=True)
class Programme:
    """What all donors share: the biology.

    Attributes
    ----------
    base
        (n_genes,) log mean share of a gene.
    dispersion
        (n_genes,) negative-binomial phi.
    domain
        (n_domains, n_genes) log effects.
    cell_type
        (n_cell_types, n_genes) log effects.
    composition
        (n_domains, n_cell_types) log shares of the cell types, up to a constant per domain.
    domain_yield
        (n_domains,) log factors of the library size.
    """

    base: Floats
    dispersion: Floats
    domain: Floats
    cell_type: Floats
    composition: Floats
    domain_yield: Floats


@dataclass(frozen=True)
class DonorEffect:
    """How one donor departs from the shared biology; shapes as in `Programme`, all logarithms."""

    gene: Floats
    domain: Floats
    composition: Floats


@dataclass(frozen=True)
class SectionEffect:
    """How one section departs from its donor: (n_genes,) log factors and a log capture efficiency."""

    gene: Floats
    efficiency: float


def draw_programme(design: CohortDesign, rng: np.random.Generator) -> Programme:
    """Draw the biology of a cohort.

    Layers are correlated with the next one, as cortical layers are; the deepest (white matter) is on its own and twice
    as distinct, and so, to a lesser degree, is the islet.
    """
    expression, n_genes = design.expression, design.n_genes
    return Programme(
        base=rng.normal(0, expression.gene_mean_log_sd, n_genes),
        dispersion=expression.dispersion_median * np.exp(rng.normal(0, expression.dispersion_log_sd, n_genes)),
        domain=_domain_effects(design, rng),
        cell_type=_cell_type_effects(expression, n_genes, rng),
        composition=_along_layers(rng.normal(0, 1.0, (design.n_domains, expression.n_cell_types)), expression),
        domain_yield=rng.normal(0, expression.domain_yield_log_sd, design.n_domains),
    )


def _domain_effects(design: CohortDesign, rng: np.random.Generator) -> Floats:
    expression = design.expression
    shape = (design.n_domains, design.n_genes)
    touched = rng.random(shape) < expression.domain_marker_fraction
    effects = _along_layers(rng.normal(0, expression.domain_effect_sd, shape) * touched, expression)
    distinctness = np.ones(design.n_domains)
    distinctness[-2:] = 2.0, 1.3
    return effects * distinctness[:, None]


def _cell_type_effects(expression: ExpressionDesign, n_genes: int, rng: np.random.Generator) -> Floats:
    shape = (expression.n_cell_types, n_genes)
    marks = rng.random(shape) < expression.cell_type_marker_fraction
    return marks * rng.normal(expression.cell_type_effect, expression.cell_type_effect / 2, shape)


def _along_layers(independent: Floats, expression: ExpressionDesign) -> Floats:
    """Correlate each layer with the one above; the last two rows (white matter, islet) stay independent."""
    correlated = independent.copy()
    carried = expression.layer_correlation
    for layer in range(1, len(independent) - 2):
        correlated[layer] = carried * correlated[layer - 1] + np.sqrt(1 - carried**2) * independent[layer]
    return correlated


def draw_donor_effect(design: CohortDesign, rng: np.random.Generator) -> DonorEffect:
    """Draw what sets a donor apart."""
    expression = design.expression
    return DonorEffect(
        gene=rng.normal(0, expression.donor_effect_sd, design.n_genes),
        domain=rng.normal(0, expression.donor_domain_effect_sd, (design.n_domains, design.n_genes)),
        composition=rng.normal(0, expression.donor_composition_sd, (design.n_domains, expression.n_cell_types)),
    )


def draw_section_effect(design: CohortDesign, rng: np.random.Generator) -> SectionEffect:
    """Draw what sets a section apart from its donor's others."""
    expression = design.expression
    return SectionEffect(
        gene=rng.normal(0, expression.section_effect_sd, design.n_genes),
        efficiency=rng.normal(0, expression.section_efficiency_log_sd),
    )


def draw_library_sizes(
    memberships: Floats,
    positions: Floats,
    programme: Programme,
    section: SectionEffect,
    expression: ExpressionDesign,
    rng: np.random.Generator,
) -> Floats:
    """Expected UMI per spot, (n,): domain yield, capture efficiency smooth in space, and spot noise."""
    logs = (
        np.log(expression.median_library_size)
        + section.efficiency
        + memberships @ programme.domain_yield
        + expression.library_field_log_sd * smooth_field(positions, rng)
        + rng.normal(0, expression.library_log_sd, len(memberships))
    )
    return np.asarray(np.exp(logs))


def smooth_field(positions: Floats, rng: np.random.Generator, n_waves: int = 12) -> Floats:
    """A random field of unit variance at (n, 2) positions, with wavelengths from a third to the whole section."""
    extent = float(np.ptp(positions, axis=0).max()) or 1.0
    directions = rng.uniform(0, 2 * np.pi, n_waves)
    frequencies = 2 * np.pi * rng.uniform(1, 3, n_waves) / extent
    waves = positions @ (frequencies * np.vstack([np.cos(directions), np.sin(directions)]))
    return np.asarray(np.cos(waves + rng.uniform(0, 2 * np.pi, n_waves)).sum(axis=1) * np.sqrt(2 / n_waves))


def draw_compositions(
    memberships: Floats,
    positions: Floats,
    programme: Programme,
    donor: DonorEffect,
    expression: ExpressionDesign,
    rng: np.random.Generator,
) -> Floats:
    """Cell-type shares of every spot, (n, n_cell_types).

    The mix of the spot's domains, tilted by fields that are smooth in space and know nothing of domains (vessels,
    inflammation, gradients), then as uneven as a few cells drawn from it.
    """
    weights = np.exp(programme.composition + donor.composition)
    means = memberships @ (weights / weights.sum(axis=1, keepdims=True))
    fields = np.column_stack([smooth_field(positions, rng) for _ in range(means.shape[1])])
    means = means * np.exp(expression.composition_field_sd * fields)
    means /= means.sum(axis=1, keepdims=True)
    cells = rng.standard_gamma(expression.cells_per_spot * means) + 1e-9
    return np.asarray(cells / cells.sum(axis=1, keepdims=True))


def draw_counts(
    memberships: Floats,
    compositions: Floats,
    library_sizes: Floats,
    programme: Programme,
    donor: DonorEffect,
    section: SectionEffect,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Counts of a section, (n, n_genes) CSR int32 with sorted indices, drawn in chunks of bounded memory."""
    domain = np.exp(programme.domain + donor.domain).astype(np.float32)
    cell_type = np.exp(programme.cell_type).astype(np.float32)
    gene = np.exp(programme.base + donor.gene + section.gene).astype(np.float32)
    n_rows = max(1, VALUES_PER_CHUNK // len(gene))
    parts = []
    for start in range(0, len(memberships), n_rows):
        rows = slice(start, start + n_rows)
        shares = memberships[rows].astype(np.float32) @ domain
        shares *= compositions[rows].astype(np.float32) @ cell_type
        shares *= gene
        shares *= (library_sizes[rows] / shares.sum(axis=1))[:, None].astype(np.float32)
        parts.append(sparse.csr_matrix(draw_negative_binomial(shares, programme.dispersion, rng)))
    counts = sparse.vstack(parts, format="csr", dtype=np.int32)
    counts.sort_indices()
    return counts


def draw_negative_binomial(
    means: NDArray[np.float32], dispersion: Floats, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw counts with the given (n, g) means and variance ``mean + dispersion mean^2``, as a Gamma-Poisson mixture."""
    shape = (1 / np.maximum(dispersion, 1e-6)).astype(np.float32)
    factors = rng.standard_gamma(shape, size=means.shape, dtype=np.float32)
    return rng.poisson(factors * (means / shape)).astype(np.int32)

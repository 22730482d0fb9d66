"""What a simulated cohort is made of: sizes, effect sizes and where each number comes from.

Only numbers live here; `tissue`, `counts` and `histology` draw from them. The defaults were set beside public
Visium and ST sections (human dorsolateral prefrontal cortex, HER2-positive breast tumours) with the statistics that the
docstrings name, so that a simulated section is as sparse, as overdispersed and as confounded as a real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from stalign_core.errors import SettingsError


@dataclass(frozen=True)
class TissueDesign:
    """Shape of a section and of its domains.

    Attributes
    ----------
    tissue_fraction
        Share of the lattice under tissue.
    islet_fraction
        Mean share of the tissue that the islet takes; the layers divide the rest.
    proportion_concentration
        Dirichlet concentration of a donor's domain proportions: lower means that donors differ more.
    section_jitter
        How far a section's geometry departs from its donor's, relative to how far donors depart from each other.
    border_width
        Width of the logistic transition between domains, in spot distances. A Visium spot is 55 um wide at a
        distance of 100 um, so a border inside a spot mixes two domains.
    """

    tissue_fraction: float = 0.78
    islet_fraction: float = 0.08
    proportion_concentration: float = 60.0
    section_jitter: float = 0.2
    border_width: float = 0.3


@dataclass(frozen=True)
class ExpressionDesign:
    """Sizes of every effect on the counts; logarithms are natural.

    Attributes
    ----------
    median_library_size
        Median UMI of a spot over the simulated genes, before domain, section and spot factors. Prefrontal
        cortex: 1,300 over 7,300 genes.
    library_log_sd
        Spread of log library size between spots of one domain (cortex layers: .30 to .58, part of it smooth in space).
    library_field_log_sd
        Spread of the part that is smooth in space: uneven permeabilisation.
    domain_yield_log_sd
        Spread of the domains' mean log library size (cortex: layer 1 yields a third of layer 3).
    gene_mean_log_sd
        Spread of log mean counts between genes (cortex: 2.0 over all detected genes; less among expressed ones).
    dispersion_median, dispersion_log_sd
        Log-normal negative-binomial dispersion phi, variance = mean + phi mean^2 (within cortex layers: quartiles
        0, .2 and .55).
    domain_marker_fraction, domain_effect_sd
        Share of the genes that a domain's programme touches, and spread of their log fold changes (cortex: a
        domain's log effects have a spread of .2 to .3 over all genes, white matter's .6 to .7; 1 % exceed 1.1).
    layer_correlation
        Correlation of neighbouring layers' programmes.
    n_cell_types, cell_type_marker_fraction, cell_type_effect
        Cell types that make up every domain in different shares, the share of genes that mark each, and the mean log
        fold change of a marker.
    cells_per_spot
        Dirichlet concentration of a spot's composition: the spread that comes of drawing so few cells.
    composition_field_sd
        Spread of smooth fields in the log shares of cell types: tissue varies within a domain, too.
    donor_effect_sd
        Spread of a donor's gene-wise log factors. Log ratios between two donors' mean profiles then spread by .34,
        between a cortex donor's adjacent sections (.1) and tumours of different patients (.65 to .85).
    donor_domain_effect_sd
        Spread of what a donor adds to a domain's programme: a domain is not quite the same in two people.
    donor_composition_sd
        Spread of a donor's log shares of cell types within a domain.
    section_effect_sd
        Spread of a section's gene-wise log factors (adjacent cortex sections: log ratios of .1, .07 for each).
    section_efficiency_log_sd
        Spread of the sections' log capture efficiency.
    """

    median_library_size: float = 900.0
    library_log_sd: float = 0.35
    library_field_log_sd: float = 0.2
    domain_yield_log_sd: float = 0.25
    gene_mean_log_sd: float = 1.5
    dispersion_median: float = 0.2
    dispersion_log_sd: float = 0.8
    domain_marker_fraction: float = 0.15
    domain_effect_sd: float = 0.4
    layer_correlation: float = 0.5
    n_cell_types: int = 8
    cell_type_marker_fraction: float = 0.08
    cell_type_effect: float = 1.0
    cells_per_spot: float = 5.0
    composition_field_sd: float = 0.6
    donor_effect_sd: float = 0.2
    donor_domain_effect_sd: float = 0.15
    donor_composition_sd: float = 0.3
    section_effect_sd: float = 0.07
    section_efficiency_log_sd: float = 0.25


@dataclass(frozen=True)
class HistologyDesign:
    """Scale and stain of the H&E images.

    Attributes
    ----------
    spot_distance_pixels
        Full-resolution pixels between neighbouring spots, which lie 100 um apart: 64 is 1.56 um per pixel, where
        real slides have .25 to 1; coarse, so that a section stays a few megabytes.
    margin_pixels
        Glass around the lattice.
    hires_side, lowres_side
        Longer side of Space Ranger's two pictures: half of the real 2,000 and 600, as the full image is small too.
    jpeg_quality
        Quality of the full-resolution TIFF's tiles.
    donor_stain_sd
        Spread of a donor's log stain intensities.
    donor_hue_sd
        Spread, per colour channel, of a donor's departure from the reference stain vectors.
    section_stain_sd
        Spread of a section's log stain intensities.
    """

    spot_distance_pixels: float = 64.0
    margin_pixels: int = 96
    hires_side: int = 1000
    lowres_side: int = 300
    jpeg_quality: int = 80
    donor_stain_sd: float = 0.2
    donor_hue_sd: float = 0.05
    section_stain_sd: float = 0.05


@dataclass(frozen=True)
class CohortDesign:
    """A cohort to simulate.

    The default is small enough to simulate and analyse in minutes: about 600 spots in each of 3 x 2 sections. A
    full Visium capture area has ``lattice_rows=78, lattice_columns=64``.

    Attributes
    ----------
    n_donors, sections_per_donor
        Size of the cohort.
    lattice_rows, lattice_columns
        Rows of spots and spots per row.
    n_genes
        Genes measured; a section may lack a few of them.
    n_domains
        ``n_domains - 1`` layers and one islet.
    missing_gene_fraction
        Share of the genes that a section with a shorter gene list lacks.
    unannotated_fraction
        Share of the spots that the annotation leaves out.

    Raises
    ------
    SettingsError
        If a number is outside the range in which a cohort can be drawn.
    """

    n_donors: int = 3
    sections_per_donor: int = 2
    lattice_rows: int = 28
    lattice_columns: int = 28
    n_genes: int = 2000
    n_domains: int = 6
    missing_gene_fraction: float = 0.01
    unannotated_fraction: float = 0.03
    tissue: TissueDesign = field(default_factory=TissueDesign)
    expression: ExpressionDesign = field(default_factory=ExpressionDesign)
    histology: HistologyDesign = field(default_factory=HistologyDesign)

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            if getattr(self, name) < lowest:
                raise _impossible(name, getattr(self, name), f"at least {lowest}")
        for part in (self.tissue, self.expression, self.histology):
            for entry in fields(part):
                value = getattr(part, entry.name)
                if value < 0:
                    raise _impossible(entry.name, value, "a number that is not negative")
                if value == 0 and entry.name in _POSITIVE:
                    raise _impossible(entry.name, value, "a number above 0")
                if value > 1 and entry.name in _SHARES:
                    raise _impossible(entry.name, value, "a share from 0 to 1")
        if self.n_domains > _MOST_DOMAINS:
            raise _impossible("n_domains", self.n_domains, f"at most {_MOST_DOMAINS}")
        if not 0.2 <= self.tissue.tissue_fraction <= 0.95:
            raise _impossible("tissue_fraction", self.tissue.tissue_fraction, "a share from 0.2 to 0.95")
        if not 0.01 <= self.tissue.islet_fraction <= 0.3:
            raise _impossible("islet_fraction", self.tissue.islet_fraction, "a share from 0.01 to 0.3")
        for name in ("missing_gene_fraction", "unannotated_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise _impossible(name, getattr(self, name), "a share from 0 to below 1")

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains: layers from the surface down, white matter last, then the islet."""
        return (*(f"Layer{depth + 1}" for depth in range(self.n_domains - 2)), "WhiteMatter", "Islet")

    def donor(self, donor_index: int) -> str:
        """Name of a donor."""
        return f"P{donor_index + 1:02d}"

    def sample(self, donor_index: int, section_index: int) -> str:
        """Name of a section."""
        return f"{self.donor(donor_index)}_S{section_index + 1}"


_MOST_DOMAINS = 12
_LOWEST = {
    "n_donors": 1,
    "sections_per_donor": 1,
    "lattice_rows": 8,
    "lattice_columns": 8,
    "n_genes": 50,
    "n_domains": 3,
}
_POSITIVE = {
    "proportion_concentration",
    "median_library_size",
    "dispersion_median",
    "n_cell_types",
    "cells_per_spot",
    "spot_distance_pixels",
    "margin_pixels",
    "hires_side",
    "lowres_side",
    "jpeg_quality",
}
_SHARES = {"domain_marker_fraction", "cell_type_marker_fraction", "layer_correlation"}


def _impossible(name: str, value: object, expected: str) -> SettingsError:
    return SettingsError(f"simulation design, {name}", f"found {value}", expected=expected)

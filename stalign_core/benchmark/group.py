"""The samples that are integrated together, and their features; each feature is computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from stalign_core.benchmark.arms import STANDARDISED
from stalign_core.progress import Progress, silent

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from stalign_core.correction import CorrectionResult
    from stalign_core.settings import CorrectionMethod, Settings

Features = NDArray[np.float32]
Morphology = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Vectors of the spots' patches, and which spots have one."""

PartlyPresent = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Vectors, and which are there; all, when None."""

PCA: Final = "pca"
_NEIGHBORS: Final = {True: 6, False: 8}
"""Nearest spots that count with the spot itself: one ring of a hexagonal, or of a square, lattice."""


@dataclass(frozen=True, eq=False)
class Section:
    """One tissue section; all arrays have a row per spot.

    Attributes
    ----------
    sample, donor
        Names.
    counts, genes, symbols
        (n, n_genes) raw counts, and the keys and symbols of their columns.
    barcode, labels
        (n,) object; missing labels are None.
    lattice, positions
        (n, 2) packed cells, and isotropic coordinates.
    hexagonal
        Whether the lattice is.
    morphology, external
        By encoder and by representation.
    """

    sample: str
    donor: str
    counts: csr_matrix
    genes: NDArray[np.object_]
    symbols: NDArray[np.object_]
    barcode: NDArray[np.object_]
    labels: NDArray[np.object_]
    lattice: NDArray[np.int32]
    positions: NDArray[np.float64]
    hexagonal: bool
    morphology: Mapping[str, Morphology]
    external: Mapping[str, NDArray[Any]]

    @property
    def n_spots(self) -> int:
        """Number of spots."""
        return len(self.barcode)


class Group:
    """Sections that are integrated jointly, as a study's scope would with the same settings.

    Parameters
    ----------
    sections
        By donor and then by name: the order in which a study stacks them.
    settings
        Of the study; what a trial varies is given to each method instead.
    progress
        Told what is being computed.
    """

    def __init__(self, sections: Sequence[Section], settings: Settings, progress: Progress = silent) -> None:
        self.sections = tuple(sections)
        self.settings = settings
        self.progress = progress
        self._kept: dict[Any, Any] = {}

    @cached_property
    def samples(self) -> NDArray[np.object_]:
        """Sample of each spot."""
        return self._names("sample")

    @cached_property
    def donors(self) -> NDArray[np.object_]:
        """Donor of each spot."""
        return self._names("donor")

    @cached_property
    def batches(self) -> NDArray[np.object_]:
        """What correction removes, of each spot."""
        return self.samples if self.settings.correction.covariate == "sample" else self.donors

    @property
    def n_spots(self) -> int:
        """Number of spots."""
        return len(self.samples)

    @property
    def n_donors(self) -> int:
        """Number of donors."""
        return len(set(self.donors))

    def stack(self, of_section: Callable[[Section], NDArray[Any]]) -> NDArray[Any]:
        """An array of every section, one below the other."""
        return np.concatenate([of_section(section) for section in self.sections])

    @cached_property
    def spot_names(self) -> NDArray[np.object_]:
        """Unique names."""
        pairs = zip(self.samples, self.stack(lambda section: section.barcode), strict=True)
        return np.array([f"{sample}_{barcode}" for sample, barcode in pairs], dtype=object)

    @cached_property
    def labels(self) -> NDArray[np.object_]:
        """Expert labels."""
        return self.stack(lambda section: section.labels)

    @cached_property
    def panel(self) -> NDArray[np.object_]:
        """Highly variable genes of these sections alone."""
        from stalign_core.expression.gene_statistics import gene_histogram
        from stalign_core.expression.panel import select_panel

        histograms = {}
        for done, section in enumerate(self.sections):
            self.progress(f"genes of {section.sample}", done, len(self.sections))
            histograms[section.sample] = gene_histogram(section.counts, section.genes, where=section.sample)
        expression = self.settings.expression
        return select_panel(histograms, expression.n_top_genes, expression.min_spots_per_gene).genes

    def expression(self, representation: str, scaling: Literal["cohort", "sample"]) -> Features:
        """Principal components of expression, or of an external embedding."""
        key = ("expression", representation, scaling if representation == PCA else "")
        if key not in self._kept:
            self._kept[key] = self._own_pca(scaling) if representation == PCA else self._external_pca(representation)
        features: Features = self._kept[key]
        return features

    def morphology(self, encoder: str, *, corrected: bool, seed: int) -> Morphology:
        """Principal components of morphology, as they are or corrected by Harmony."""
        key = ("morphology", encoder, seed if corrected else None)
        if key not in self._kept:
            if corrected:
                self._kept[key] = self._corrected_morphology(encoder, seed)
            else:
                self._kept[key] = self._morphology_pca(encoder)
        morphology: Morphology = self._kept[key]
        return morphology

    def correct(self, method: CorrectionMethod, representation: str, settings: Settings, seed: int) -> CorrectionResult:
        """Expression corrected by `method` with the hyperparameters of `settings`, or standardised within samples."""
        from stalign_core.correction import correct_embedding
        from stalign_core.correction.result import unchanged
        from stalign_core.correction.scvi import fit_scvi

        if method == STANDARDISED:
            return unchanged(self.expression(representation, "sample"), "genes are standardised within samples")
        if method == "scvi":
            return fit_scvi(
                self._panel_counts(),
                self.batches,
                settings.correction,
                n_latent=settings.expression.n_components,
                seed=seed,
                genes=self.panel.tolist(),
                progress=self.progress,
                device=settings.correction.scvi.device,
            )
        scaling = "cohort" if method == "uncorrected" else settings.expression.scaling_of(self.n_donors)
        return correct_embedding(
            method, self.expression(representation, scaling), self.batches, settings.correction, seed
        )

    def neighbor_mean(self, features: NDArray[Any]) -> Features:
        """Mean of each spot and its nearest in the same section: one ring of the lattice."""
        means = np.empty(features.shape, dtype=np.float32)
        for section, rows in zip(self.sections, self._spans(), strict=True):
            nearest = self._nearest_in(section, _NEIGHBORS[section.hexagonal])
            own = features[rows]
            present = (nearest >= 0)[..., None]
            means[rows] = (own + (own[nearest] * present).sum(axis=1)) / (1 + present.sum(axis=1))
        return means

    def nearest(self, n_neighbors: int) -> NDArray[np.int64]:
        """Nearest spots within the section, as rows of the stack; -1 where there is none."""
        from stalign_core.grid import nearest_within_samples

        return nearest_within_samples((section.positions for section in self.sections), n_neighbors)

    @cached_property
    def lattice_inputs(self) -> dict[str, NDArray[Any]]:
        """What the model is told of places: lattice, sample codes, kind of lattice."""
        sizes = [section.n_spots for section in self.sections]
        return {
            "lattice": self.stack(lambda section: section.lattice),
            "sample": np.repeat(np.arange(len(sizes)), sizes).astype(np.int64),
            "hexagonal": np.repeat([section.hexagonal for section in self.sections], sizes),
        }

    def _names(self, attribute: str) -> NDArray[np.object_]:
        return self.stack(lambda section: np.full(section.n_spots, getattr(section, attribute), dtype=object))

    def _spans(self) -> list[slice]:
        bounds = np.cumsum([0, *(section.n_spots for section in self.sections)])
        return [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]

    @staticmethod
    def _nearest_in(section: Section, n_neighbors: int) -> NDArray[np.int32]:
        from stalign_core.grid import nearest_spots

        return nearest_spots(section.positions, n_neighbors)

    def _panel_counts(self) -> csr_matrix:
        from scipy.sparse import csr_matrix, vstack

        from stalign_core.expression.normalisation import panel_columns

        blocks = [section.counts[:, panel_columns(section.genes, self.panel)] for section in self.sections]
        return csr_matrix(vstack(blocks))

    def _own_pca(self, scaling: Literal["cohort", "sample"]) -> Features:
        from stalign_core.expression.basis import ExpressionMoments, fit_expression_basis

        expression = self.settings.expression
        seen = ExpressionMoments.empty(self.panel, expression.target_sum, scaling)
        for done, section in enumerate(self.sections):
            self.progress(f"expression of {section.sample}", done, len(self.sections))
            seen.add_sample(section.sample, section.counts, section.genes)
        basis = fit_expression_basis(seen, expression.n_components)
        return self.stack(lambda section: basis.project(section.counts, section.genes, section.sample))

    def _external_pca(self, representation: str) -> Features:
        return self._dense_pca(lambda section: (section.external[representation], None), self.settings.expression)[0]

    def _morphology_pca(self, encoder: str) -> Morphology:
        return self._dense_pca(lambda section: section.morphology[encoder], self.settings.morphology)

    def _dense_pca(self, of: Callable[[Section], PartlyPresent], settings: Any) -> Morphology:
        from stalign_core.expression.dense_basis import DenseMoments, fit_dense_basis

        given = [(section.sample, *of(section)) for section in self.sections]
        seen = DenseMoments.empty(given[0][1].shape[1])
        for sample, features, present in given:
            seen.add_rows(features, present, where=sample)
        basis = fit_dense_basis(seen, settings.n_components)
        projected = [basis.project(features, present, where=sample) for sample, features, present in given]
        everyone = [np.ones(len(each), dtype=bool) if present is None else present for _, each, present in given]
        return np.concatenate(projected), np.concatenate(everyone)

    def _corrected_morphology(self, encoder: str, seed: int) -> Morphology:
        from stalign_core.correction import correct_where_present

        features, observed = self.morphology(encoder, corrected=False, seed=seed)
        settings = self.settings.correction
        result = correct_where_present("harmony", features, observed, self.batches, settings, seed)
        return result.features, observed

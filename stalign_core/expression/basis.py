"""Principal components of normalised expression, fitted without ever holding the sections together.

Equal to scanpy's ``normalize_total`` over the panel, ``log1p``, ``scale`` and ``pca`` on the concatenated sections,
up to the sign of each component, which is fixed here by content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.expression.moments import Matrix, Moments, principal_axes
from stalign_core.expression.normalisation import (
    column_statistics,
    dense_blocks,
    log_normalised,
    panel_columns,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Scaling = Literal["cohort", "sample"]
Genes = Sequence[str] | NDArray[np.object_]

CLIP: Final = 10.0
"""Largest standardised value kept when genes are scaled within samples, in deviations."""


@dataclass(frozen=True, eq=False)
class SampleScale:
    """A section's own mean and deviation of each panel gene, (n_genes,) both."""

    means: Matrix
    deviations: Matrix


@dataclass(eq=False)
class ExpressionMoments:
    """What the basis needs to know of the sections seen so far.

    Memory is one (n_genes, n_genes) float64 matrix and one dense block, whatever the number of spots.
    Blocks are float64: on 14,364 spots and 3,000 genes the products take 1.4 s on two cores, 0.6 s in float32,
    which is not worth three digits.

    Attributes
    ----------
    panel
        Gene keys, (n_genes,) object.
    target_sum
        Library size per spot after normalisation.
    scaling
        ``"cohort"``: genes are standardised over all spots, by `fit_expression_basis`. ``"sample"``: within each
        section, clipped to plus and minus 10 deviations, before they enter.
    moments
        Of the log-normalised (``"cohort"``) or standardised (``"sample"``) expression.
    sample_scales
        Per section, its genes' means and deviations; empty for ``"cohort"``.
    """

    panel: NDArray[np.object_]
    target_sum: float
    scaling: Scaling
    moments: Moments
    sample_scales: dict[str, SampleScale] = field(default_factory=dict)

    @staticmethod
    def empty(panel: Genes, target_sum: float, scaling: Scaling) -> ExpressionMoments:
        """Moments of no section."""
        keys = np.asarray(panel, dtype=object)
        return ExpressionMoments(keys, target_sum, scaling, Moments.empty(len(keys)))

    def add_sample(self, sample: str, counts: csr_matrix, genes: Genes) -> None:
        """Take in one whole section.

        Parameters
        ----------
        sample
            Its name.
        counts
            Raw counts, (n_spots, n_genes_of_section).
        genes
            The section's gene keys.

        Raises
        ------
        InputDataError
            If the section lacks a panel gene.
        """
        columns = panel_columns(genes, self.panel)
        if (columns < 0).any():
            missing = self.panel[columns < 0]
            raise InputDataError(
                f"sample {sample}",
                f"lacks {len(missing)} genes of the panel, first {missing[0]}",
                remedy="choose the panel from all samples that the basis is fitted on",
            )
        values = log_normalised(counts, columns, self.target_sum)
        if self.scaling == "sample":
            scale = SampleScale(*column_statistics(values))
            self.sample_scales[sample] = scale
            for block in _standardised_blocks(values, scale):
                self.moments.add_rows(block)
        else:
            for block in dense_blocks(values):
                self.moments.add_rows(block)

    def merge(self, other: ExpressionMoments) -> None:
        """Take in the sections that `other` has seen over the same panel."""
        self.moments.merge(other.moments)
        self.sample_scales.update(other.sample_scales)


@dataclass(frozen=True, eq=False)
class ExpressionBasis:
    """Principal axes of expression, and all that projecting a section on them needs.

    Attributes
    ----------
    panel
        Gene keys, (n_genes,) object.
    target_sum, scaling
        As in `ExpressionMoments`.
    means, deviations
        What a value is centred and divided by before projection, (n_genes,) both: statistics of the log-normalised
        expression for ``"cohort"``; for ``"sample"``, the mean of the clipped standardised expression, and ones.
    components
        Unit rows, (n_components, n_genes).
    explained_variance
        Variance along each component, (n_components,).
    total_variance
        Over all directions.
    n_spots
        Spots the basis was fitted on.
    sample_scales
        Per fitted section, its genes' means and deviations; empty for ``"cohort"``.
    """

    panel: NDArray[np.object_]
    target_sum: float
    scaling: Scaling
    means: Matrix
    deviations: Matrix
    components: Matrix
    explained_variance: Matrix
    total_variance: float
    n_spots: int
    sample_scales: dict[str, SampleScale]

    @property
    def n_components(self) -> int:
        """Length of the space."""
        return len(self.components)

    def missing_genes(self, genes: Genes) -> NDArray[np.object_]:
        """Panel genes that a section with these genes lacks."""
        return self.panel[panel_columns(genes, self.panel) < 0]

    def project(self, counts: csr_matrix, genes: Genes, sample: str) -> NDArray[np.float32]:
        """Principal components of one whole section.

        A panel gene that the section lacks sits at its fitted mean and so adds nothing; the library size is then
        taken over the panel genes there are. With scaling ``"sample"`` a section that was not fitted is
        standardised by its own statistics.

        Parameters
        ----------
        counts
            Raw counts, (n_spots, n_genes_of_section).
        genes
            The section's gene keys.
        sample
            Its name.

        Returns
        -------
        (n_spots, n_components) float32.

        Raises
        ------
        InputDataError
            If the section has none of the panel genes.
        """
        columns = panel_columns(genes, self.panel)
        present = columns >= 0
        if not present.any():
            raise InputDataError(
                f"sample {sample}",
                "has none of the genes of the expression basis",
                expected="the same kind of gene key as the samples the basis was fitted on",
            )
        values = log_normalised(counts, columns[present], self.target_sum)
        axes = (self.components[:, present] / self.deviations[present]).T
        offset = self.means[present] @ axes
        if self.scaling == "sample":
            blocks = _standardised_blocks(values, self._scale_of(sample, values, present))
        else:
            blocks = dense_blocks(values)
        return np.concatenate([(block @ axes - offset).astype(np.float32) for block in blocks])

    @property
    def captured_share(self) -> float:
        """Share of the fitted spots' variance that the components keep."""
        return float(self.explained_variance.sum() / self.total_variance)

    def captured_share_of(self, counts: csr_matrix, genes: Genes, sample: str) -> float:
        """Share of one section's variance, over the panel genes it has, that the components keep.

        Parameters are those of `project`. Near `captured_share` where the section is like the fitted ones; lower
        where it varies in directions that the fitted ones did not show.
        """
        columns = panel_columns(genes, self.panel)
        present = columns >= 0
        values = log_normalised(counts, columns[present], self.target_sum)
        if self.scaling == "sample":
            blocks = _standardised_blocks(values, self._scale_of(sample, values, present))
        else:
            blocks = dense_blocks(values)
        seen = Moments.empty(int(present.sum()))
        for block in blocks:
            seen.add_rows((block - self.means[present]) / self.deviations[present])
        covariance = seen.covariance()
        axes = self.components[:, present]
        return float(np.trace(axes @ covariance @ axes.T) / np.trace(covariance))

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name and JSON-able facts, from which `from_arrays` rebuilds the basis."""
        arrays: dict[str, NDArray[Any]] = {
            "means": self.means,
            "deviations": self.deviations,
            "components": self.components,
            "explained_variance": self.explained_variance,
        }
        if self.sample_scales:
            arrays["sample_means"] = np.stack([scale.means for scale in self.sample_scales.values()])
            arrays["sample_deviations"] = np.stack([scale.deviations for scale in self.sample_scales.values()])
        facts = {
            "panel": self.panel.tolist(),
            "target_sum": self.target_sum,
            "scaling": self.scaling,
            "total_variance": self.total_variance,
            "n_spots": self.n_spots,
            "samples": list(self.sample_scales),
        }
        return arrays, facts

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> ExpressionBasis:
        """Rebuild what `to_arrays` gave."""
        return ExpressionBasis(
            panel=np.asarray(facts["panel"], dtype=object),
            target_sum=facts["target_sum"],
            scaling=facts["scaling"],
            means=arrays["means"],
            deviations=arrays["deviations"],
            components=arrays["components"],
            explained_variance=arrays["explained_variance"],
            total_variance=facts["total_variance"],
            n_spots=facts["n_spots"],
            sample_scales={
                sample: SampleScale(arrays["sample_means"][row], arrays["sample_deviations"][row])
                for row, sample in enumerate(facts["samples"])
            },
        )

    def _scale_of(self, sample: str, values: csr_matrix, present: NDArray[np.bool_]) -> SampleScale:
        known = self.sample_scales.get(sample)
        if known is None:
            return SampleScale(*column_statistics(values))
        return SampleScale(known.means[present], known.deviations[present])


def fit_expression_basis(seen: ExpressionMoments, n_components: int) -> ExpressionBasis:
    """Principal axes of the sections whose moments were gathered.

    Raises
    ------
    InputDataError
        If there are not more spots than components, or fewer genes than components.
    """
    n_spots, n_genes = seen.moments.n_rows, len(seen.panel)
    if n_spots <= n_components or n_genes < n_components:
        raise InputDataError(
            "expression basis",
            f"has {n_spots} spots and {n_genes} genes for {n_components} components",
            expected="more spots than components and at least as many genes",
            remedy="lower expression.n_components, or add samples",
        )
    deviations = seen.moments.deviations() if seen.scaling == "cohort" else np.ones(n_genes)
    covariance = seen.moments.covariance()
    covariance /= deviations
    covariance /= deviations[:, None]
    components, explained_variance = principal_axes(covariance, n_components)
    return ExpressionBasis(
        panel=seen.panel,
        target_sum=seen.target_sum,
        scaling=seen.scaling,
        means=seen.moments.mean.copy(),
        deviations=deviations,
        components=components,
        explained_variance=explained_variance,
        total_variance=float(np.trace(covariance)),
        n_spots=n_spots,
        sample_scales=dict(seen.sample_scales),
    )


def basis_of_panel(panel: Genes, target_sum: float) -> ExpressionBasis:
    """A basis without axes, which projects on nothing: for methods that start from the panel's counts."""
    keys = np.asarray(panel, dtype=object)
    return ExpressionBasis(
        panel=keys,
        target_sum=target_sum,
        scaling="cohort",
        means=np.zeros(len(keys)),
        deviations=np.ones(len(keys)),
        components=np.zeros((0, len(keys))),
        explained_variance=np.zeros(0),
        total_variance=0.0,
        n_spots=0,
        sample_scales={},
    )


def _standardised_blocks(values: csr_matrix, scale: SampleScale) -> Iterator[Matrix]:
    for block in dense_blocks(values):
        standardised = (block - scale.means) / scale.deviations
        yield np.clip(standardised, -CLIP, CLIP, out=standardised)

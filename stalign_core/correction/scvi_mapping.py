"""New samples in scVI's latent space: what scvi-tools' query model gives, without training.

scVI's encoder is not told the batch (scvi-tools' ``encode_covariates=False``), so a query model, which freezes all but
the new batch's own weights, has nothing to learn that the latent mean depends on: the stored encoder is the mapping.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.result import CorrectionTerms
from stalign_core.correction.scvi_network import NETWORK, latent_means, rebuild_scvi
from stalign_core.errors import CorrectionError
from stalign_core.expression.normalisation import panel_columns

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from stalign_core.expression.gene_statistics import GeneHistogram


def map_scvi(
    counts: csr_matrix,
    columns: NDArray[np.int64],
    mean_log_counts: NDArray[np.float64],
    terms: CorrectionTerms,
) -> NDArray[np.float32]:
    """Latent means of spots that were not fitted.

    A panel gene that the section lacks enters the encoder, which takes ``log(1 + count)``, at its fitted mean.

    Parameters
    ----------
    counts
        Raw counts, (n_spots, n_genes_of_section).
    columns
        Column of each panel gene among the section's genes, -1 where it lacks one, (n_panel,).
    mean_log_counts
        Mean of ``log(1 + count)`` of each panel gene over the fitted spots, (n_panel,).
    terms
        Of `stalign_core.correction.scvi.fit_scvi`.

    Returns
    -------
    (n_spots, n_latent) float32; each row follows from that spot alone.

    Raises
    ------
    CorrectionError
        If the section has no panel gene, the panel is not the network's, or the weights are not.
    """
    n_input = terms.facts[NETWORK]["n_input"]
    if len(columns) != n_input:
        raise CorrectionError("scvi", f"got {len(columns)} panel genes", expected=f"the network's {n_input}")
    if (columns < 0).all():
        raise CorrectionError(
            "scvi", "got none of the panel's genes", expected="the same kind of gene key as the fitted samples have"
        )
    network = rebuild_scvi(terms.arrays, terms.facts)
    return latent_means(network, _completed(counts, columns, np.expm1(mean_log_counts)))


def mean_log_counts(
    sections: Iterable[tuple[csr_matrix, NDArray[np.object_]]], panel: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Mean of ``log(1 + count)`` of each panel gene over all spots of the sections, (n_panel,).

    Parameters
    ----------
    sections
        Raw counts (n_spots, n_genes) and gene keys (n_genes,) of each section, one at a time; no gene outside the
        panel is counted.
    panel
        Gene keys, which every section has.

    Raises
    ------
    InputDataError
        If a section lacks a panel gene.
    """
    sums, n_spots = np.zeros(len(panel)), 0
    for counts, genes in sections:
        of_panel = _panel_histogram(counts, genes, panel)
        sums += of_panel.per_gene(of_panel.n_spots_with_count * np.log1p(of_panel.count))
        n_spots += of_panel.n_spots
    return sums / n_spots


def _panel_histogram(counts: csr_matrix, genes: NDArray[np.object_], panel: NDArray[np.object_]) -> GeneHistogram:
    from stalign_core.expression.gene_statistics import gene_histogram

    columns = panel_columns(genes, panel)
    present = columns[columns >= 0]
    return gene_histogram(counts.tocsr()[:, present], genes[present]).restricted_to(panel)


def _completed(counts: csr_matrix, columns: NDArray[np.int64], means: NDArray[np.float64]) -> csr_matrix:
    """The panel's counts in the panel's order, missing genes at `means`, (n_spots, n_panel)."""
    from scipy.sparse import csr_matrix, hstack

    missing = columns < 0
    present = counts.tocsr()[:, columns[~missing]].astype(np.float64)
    filled = csr_matrix(np.tile(means[missing], (counts.shape[0], 1)))
    order = np.argsort(np.concatenate([np.flatnonzero(~missing), np.flatnonzero(missing)]))
    return hstack([present, filled], format="csr")[:, order]

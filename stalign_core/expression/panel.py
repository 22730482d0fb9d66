"""The gene panel of a scope, chosen from its sections' count histograms without reading counts again.

The choice is Seurat v3's (Stuart et al. 2019) as scanpy computes it: ``sc.pp.highly_variable_genes`` with
``flavor="seurat_v3"`` and ``batch_key="sample"`` on the concatenation of the sections over their shared genes,
after genes seen in too few spots are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.expression.gene_statistics import GENE, N_SPOTS, GeneHistogram

LOESS_SPAN = 0.3
"""Share of the genes that each local fit of variance on mean uses; scanpy's default."""

FEWEST_VARYING_GENES = 16
"""With fewer points no local fit succeeds, and below five skmisc's compiled code ends the process."""

MEDIAN_RANK = "median_rank"
N_SAMPLES = "n_samples"
VARIANCE = "normalised_variance"


@dataclass(frozen=True, eq=False)
class GenePanel:
    """The highly variable genes of a scope.

    Attributes
    ----------
    table
        One row per gene, best first: ``gene``, ``median_rank`` (over the samples in which the gene ranks among the
        `n_top_genes`; NaN where it does in none), ``n_samples`` (how many those are), ``normalised_variance`` (mean
        over samples), ``n_spots`` (in which it was seen).
    lost
        Per sample, its genes that not every sample of the scope has.
    n_shared
        Genes that every sample has.
    n_kept
        Those of them that enough spots show.
    """

    table: pd.DataFrame
    lost: dict[str, int]
    n_shared: int
    n_kept: int

    @property
    def genes(self) -> NDArray[np.object_]:
        """Gene keys, best first, (n_genes,) object."""
        return self.table[GENE].to_numpy(dtype=object)


def select_panel(histograms: Mapping[str, GeneHistogram], n_top_genes: int, min_spots_per_gene: int) -> GenePanel:
    """Choose the genes whose variance exceeds most what their mean predicts, sample by sample.

    Genes are ranked within each sample by the variance of their standardised, clipped counts; the panel takes the
    best median ranks over the samples that rank a gene among the first `n_top_genes`, ties going to the gene that
    more samples rank so, then to the gene that comes first in the first sample.

    Parameters
    ----------
    histograms
        Each sample's count histogram; the first one's gene order decides ties, as in the concatenation.
    n_top_genes
        Genes wanted; all kept genes where there are fewer.
    min_spots_per_gene
        Genes seen in fewer spots of all samples together are dropped.

    Raises
    ------
    InputDataError
        If the samples share no gene, no gene is seen often enough, or a sample is too small for the fit.
    """
    shared = _shared_genes(histograms)
    n_spots_seen = np.sum([found.restricted_to(shared).n_spots_seen for found in histograms.values()], axis=0)
    kept = np.flatnonzero(n_spots_seen >= min_spots_per_gene)
    if kept.size == 0:
        raise InputDataError(
            "gene panel",
            f"none of the {len(shared)} shared genes is seen in {min_spots_per_gene} spots",
            remedy="check the counts, or lower expression.min_spots_per_gene",
        )
    genes = shared[kept]
    variances = np.stack(
        [_normalised_variances(histograms[sample].restricted_to(genes), sample) for sample in sorted(histograms)]
    )
    return GenePanel(
        table=_ranked(genes, variances, n_spots_seen[kept], n_top_genes),
        lost={sample: len(histogram.genes) - len(shared) for sample, histogram in histograms.items()},
        n_shared=len(shared),
        n_kept=len(genes),
    )


def _shared_genes(histograms: Mapping[str, GeneHistogram]) -> NDArray[np.object_]:
    if not histograms:
        raise InputDataError("gene panel", "has no sample to choose genes from", expected="one sample or more")
    first, *others = histograms.values()
    shared = pd.Index(first.genes)
    for histogram in others:
        shared = shared[shared.isin(histogram.genes)]
    if len(shared) == 0:
        raise InputDataError(
            "gene panel",
            f"the {len(histograms)} samples share no gene",
            expected="the same kind of gene key in every sample",
            remedy="give all samples Ensembl ids, or all of them symbols",
        )
    return shared.to_numpy(dtype=object)


def _normalised_variances(histogram: GeneHistogram, sample: str) -> NDArray[np.float64]:
    """Variance of each gene's standardised, clipped counts in one sample (Stuart et al. 2019), (n_genes,).

    Standardised by the mean and by the deviation that a local fit over all genes predicts from it; values above the
    square root of the number of spots are clipped. Written with the sums in the order scanpy has them, because
    ties decide ranks and the last bit decides ties.
    """
    n = histogram.n_spots
    if n < 2:
        raise InputDataError(f"sample {sample}", f"has {n} spot", expected="at least 2 spots to rank genes by")
    mean = histogram.total / n
    squares = histogram.per_gene(histogram.n_spots_with_count * histogram.count**2)
    variance = (squares / n - mean**2) * (n / (n - 1))
    deviation = _predicted_deviation(mean, variance, sample)
    clip = deviation * np.sqrt(n) + mean
    clipped = np.minimum(histogram.count.astype(np.float64), clip[histogram.gene_index])
    clipped_sum = histogram.per_gene(histogram.n_spots_with_count * clipped)
    clipped_squares = histogram.per_gene(histogram.n_spots_with_count * clipped**2)
    scale = 1 / ((n - 1) * np.square(deviation))
    normalised: NDArray[np.float64] = scale * (n * np.square(mean) + clipped_squares - 2 * clipped_sum * mean)
    return normalised


def _predicted_deviation(mean: NDArray[np.float64], variance: NDArray[np.float64], sample: str) -> NDArray[np.float64]:
    from skmisc.loess import loess

    varies = variance > 0
    if varies.sum() < FEWEST_VARYING_GENES:
        raise _too_small(sample, int(varies.sum()), f"expected at least {FEWEST_VARYING_GENES}")
    log_variance = np.zeros(len(mean))
    try:
        model = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=LOESS_SPAN, degree=2)
        model.fit()
        log_variance[varies] = model.outputs.fitted_values
    except ValueError as error:
        raise _too_small(sample, int(varies.sum()), str(error)) from None
    deviation: NDArray[np.float64] = np.sqrt(10**log_variance)
    return deviation


def _too_small(sample: str, n_genes: int, detail: str) -> InputDataError:
    return InputDataError(
        f"sample {sample}",
        f"has too few different genes that vary ({n_genes}) to relate their variance to their mean ({detail})",
        remedy="leave the sample out, or raise expression.min_spots_per_gene",
    )


def _ranked(
    genes: NDArray[np.object_],
    variances: NDArray[np.float64],
    n_spots_seen: NDArray[np.int64],
    n_top_genes: int,
) -> pd.DataFrame:
    # The default sort breaks ties as scanpy's does on the same machine; a stable one would choose other genes.
    ranks = np.argsort(np.argsort(-variances, axis=1), axis=1).astype(np.float32)
    among_top = ranks < n_top_genes
    median_rank = np.ma.median(np.ma.masked_array(ranks, ~among_top), axis=0)  # type: ignore[no-untyped-call]
    table = pd.DataFrame(
        {
            GENE: genes,
            MEDIAN_RANK: median_rank.filled(np.nan),
            N_SAMPLES: among_top.sum(axis=0),
            VARIANCE: variances.mean(axis=0),
            N_SPOTS: n_spots_seen,
        }
    )
    ordered = table.sort_values([MEDIAN_RANK, N_SAMPLES], ascending=[True, False], na_position="last")
    return ordered.head(n_top_genes).reset_index(drop=True)

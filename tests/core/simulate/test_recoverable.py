"""The default cohort poses the problem that integration is for: donors confound domains, and the truth is in there."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from stalign_core.simulate import CohortDesign, simulate_sections

Scores = dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def scores() -> Scores:
    """(ARI with the domains, ARI with the donors) of K-Means on three embeddings."""
    parts = [section.to_anndata() for section in simulate_sections(CohortDesign(), seed=0)]
    cohort = ad.concat(parts, index_unique="-", keys=[part.obs["sample"].iloc[0] for part in parts])
    cohort.X = cohort.X.astype(np.float32)
    sc.pp.normalize_total(cohort, target_sum=1e4)
    sc.pp.log1p(cohort)
    expression = cohort.X.toarray()
    samples = cohort.obs["sample"].to_numpy()
    spots_of = [np.flatnonzero(samples == sample) for sample in np.unique(samples)]

    centred = expression.copy()
    for spots in spots_of:
        centred[spots] = (centred[spots] - centred[spots].mean(0)) / (centred[spots].std(0) + 1e-6)
    raw = PCA(20, svd_solver="arpack", random_state=0).fit_transform(
        (expression - expression.mean(0)) / (expression.std(0) + 1e-6)
    )
    corrected = PCA(20, svd_solver="arpack", random_state=0).fit_transform(centred)
    smoothed = np.empty_like(corrected)
    for spots in spots_of:
        nearest = cKDTree(cohort.obsm["spatial"][spots]).query(cohort.obsm["spatial"][spots], k=7)[1]
        smoothed[spots] = corrected[spots][nearest].mean(axis=1)

    def score(embedding: np.ndarray) -> tuple[float, float]:
        clusters = KMeans(6, n_init=10, random_state=0).fit_predict(embedding)
        return (
            float(adjusted_rand_score(cohort.obs["label"], clusters)),
            float(adjusted_rand_score(cohort.obs["donor"], clusters)),
        )

    return {"uncorrected": score(raw), "corrected": score(corrected), "smoothed": score(smoothed)}


def test_uncorrected_clusters_follow_donors(scores: Scores) -> None:
    assert scores["uncorrected"][1] > 0.2
    assert scores["uncorrected"][0] < 0.35


def test_removing_batch_means_removes_donors_and_helps(scores: Scores) -> None:
    assert scores["corrected"][1] < 0.05
    assert scores["corrected"][0] > scores["uncorrected"][0] + 0.05


def test_single_spots_are_noisy_and_neighbourhoods_help(scores: Scores) -> None:
    assert scores["corrected"][0] < 0.6
    assert scores["smoothed"][0] > scores["corrected"][0] + 0.15

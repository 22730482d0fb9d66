"""What each choice of the AESTETIK model is worth, on annotated cohorts.

usage: aestetik_ablation.py FOLDER [--data NAME ...] [--rows NAME ...] [--seeds 5] [--epochs 100] [--morphology]

FOLDER holds one folder per data set, each with a samples.csv whose annotation column names expert labels. Labels
are read for scores alone: they reach neither training nor choice. Each row is run with seeds 0, 1, ... and printed
as mean and standard deviation, never as the best seed. Columns: joint ARI with either clusterer, after the
majority vote; ARI against the donor (lower is better; absent for one donor); seconds of one fit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import stalign_core as st
from stalign_core.aestetik import Aestetik, AestetikSettings
from stalign_core.correction import correct_embedding, correct_where_present
from stalign_core.domains.clustering import cluster
from stalign_core.domains.refinement import refine
from stalign_core.expression.basis import ExpressionMoments, fit_expression_basis
from stalign_core.expression.gene_statistics import gene_histogram
from stalign_core.expression.panel import select_panel
from stalign_core.grid import lattice_positions, nearest_spots, pack_lattice
from stalign_core.settings import Settings

N_DOMAINS = {"dlpfc_br8100": 7, "her2st_abcd": 6}
"""K of each data set: its number of labels."""
NOT_SCORED = ("undetermined",)
"""Labels that say nothing of the tissue."""
CLUSTERERS = ("tied", "kmeans")


@dataclass(frozen=True)
class Row:
    """One line of the table: what it is called, and what it changes of the default."""

    name: str
    settings: AestetikSettings
    scaling: str = "cohort"
    correction: str = "harmony"
    model: bool = True


@dataclass
class Cohort:
    """A data set as arrays, one entry per spot."""

    name: str
    features: dict[tuple[str, str], np.ndarray]
    morphology: np.ndarray
    has_morphology: np.ndarray
    lattice: np.ndarray
    nearest: np.ndarray
    sample: np.ndarray
    donor: np.ndarray
    label: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(n,) bool: the spots with a label that counts."""
        return (self.label != "") & ~np.isin(self.label, NOT_SCORED)


def rows(epochs: int) -> list[Row]:
    """The table's lines: the baseline, the default for either scaling, and the default with one choice changed."""
    default = AestetikSettings(epochs=epochs)
    lines = []
    for scaling in ("cohort", "sample"):
        for correction in ("uncorrected", "harmony"):
            lines.append(Row(f"neighbour mean, {scaling}, {correction}", default, scaling, correction, model=False))
            lines.append(Row(f"model, {scaling}, {correction}", default, scaling, correction))
        for words, changed in (
            ("triplets from K-Means on single spots", replace(default, triplet_labels="kmeans")),
            ("partners across donors", replace(default, partners="across")),
            ("one triplet a spot", replace(default, multi_triplet=False)),
            ("window 1", replace(default, window=1)),
            ("window 3", replace(default, window=3)),
            ("window 7", replace(default, window=7)),
            ("MSE", replace(default, reconstruction="mse")),
            ("expression alone", replace(default, morphology_weight=0.0)),
            ("a tenth of the spots", replace(default, train_fraction=0.1)),
            ("a tenth of the spots, as many steps", replace(default, train_fraction=0.1, epochs=10 * epochs)),
        ):
            lines.append(Row(f"model, {scaling}, harmony, {words}", changed, scaling))
    return lines


def read(folder: Path, with_morphology: bool) -> Cohort:
    """Read a data set and compute every feature that the rows want."""
    adata = st.read_cohort(folder / "samples.csv")
    names = adata.obs["sample"].to_numpy(dtype=str)
    members = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    kinds = {name: adata.uns["stalign"]["samples"][name]["lattice"] for name in members}
    lattice = np.zeros((adata.n_obs, 2), dtype=np.int32)
    nearest = np.zeros((adata.n_obs, 6), dtype=np.int32)
    for name, spots in members.items():
        place = adata.obs.iloc[spots][["array_row", "array_col"]].to_numpy()
        lattice[spots] = pack_lattice(place[:, 0], place[:, 1], kinds[name])
        found = nearest_spots(lattice_positions(lattice[spots], kinds[name]), 6)
        nearest[spots] = np.where(found >= 0, spots[found], -1)
    morphology, has_morphology = np.zeros((adata.n_obs, 20), np.float32), np.zeros(adata.n_obs, dtype=bool)
    if with_morphology:
        morphology, has_morphology = _morphology(adata, members)
    return Cohort(
        folder.name,
        _expression(adata, members),
        morphology,
        has_morphology,
        lattice,
        nearest,
        np.unique(names, return_inverse=True)[1],
        adata.obs["donor"].to_numpy(dtype=str),
        adata.obs["label"].astype(object).where(adata.obs["label"].notna(), "").to_numpy(dtype=str),
    )


def _expression(adata, members) -> dict[tuple[str, str], np.ndarray]:
    """Principal components for either scaling, uncorrected and corrected by Harmony for the sample."""
    settings = Settings()
    genes = adata.var_names.to_numpy(dtype=object)
    histograms = {name: gene_histogram(adata.X[spots], genes, where=name) for name, spots in members.items()}
    panel = select_panel(histograms, settings.expression.n_top_genes, settings.expression.min_spots_per_gene).genes
    batches = adata.obs["sample"].to_numpy(dtype=object)
    features = {}
    for scaling in ("cohort", "sample"):
        moments = ExpressionMoments.empty(panel, settings.expression.target_sum, scaling)
        for name, spots in members.items():
            moments.add_sample(name, adata.X[spots], genes)
        basis = fit_expression_basis(moments, settings.expression.n_components)
        components = np.zeros((adata.n_obs, settings.expression.n_components), np.float32)
        for name, spots in members.items():
            components[spots] = basis.project(adata.X[spots], genes, name)
        features[scaling, "uncorrected"] = components
        features[scaling, "harmony"] = correct_embedding(
            "harmony", components, batches, settings.correction, 0
        ).features
    return features


def _morphology(adata, members) -> tuple[np.ndarray, np.ndarray]:
    """Components of the weight-free encoder's features, corrected by Harmony, and which spots have them."""
    from stalign_core.expression.dense_basis import DenseMoments, fit_dense_basis
    from stalign_core.morphology import embed_section
    from stalign_core.settings import EncoderSettings

    settings = Settings()
    found = {}
    for name, spots in members.items():
        section = adata[spots].copy()
        section.uns["stalign"] = dict(adata.uns["stalign"]["samples"][name])
        found[name] = embed_section(section, "texture", EncoderSettings(), settings.morphology)
    moments = DenseMoments.empty(next(iter(found.values())).features.shape[1])
    for name, embedding in found.items():
        moments.add_rows(embedding.features, embedding.observed, where=name)
    basis = fit_dense_basis(moments, settings.morphology.n_components)
    components = np.zeros((adata.n_obs, settings.morphology.n_components), np.float32)
    present = np.zeros(adata.n_obs, dtype=bool)
    for name, spots in members.items():
        present[spots] = found[name].observed
        components[spots] = basis.project(found[name].features, found[name].observed, where=name)
    batches = adata.obs["sample"].to_numpy(dtype=object)
    corrected = correct_where_present("harmony", components, present, batches, settings.correction, 0)
    return corrected.features, present


def embed_by_model(cohort: Cohort, row: Row, seed: int) -> np.ndarray:
    """Embedding of the trained model."""
    arguments = (
        cohort.features[row.scaling, row.correction],
        cohort.morphology,
        cohort.lattice,
        cohort.sample,
    )
    model = Aestetik(row.settings, seed)
    model.fit(*arguments, n_domains=N_DOMAINS[cohort.name], has_morphology=cohort.has_morphology, batch=cohort.donor)
    return model.embed(*arguments, cohort.has_morphology)


def embed_by_neighbour_mean(cohort: Cohort, row: Row) -> np.ndarray:
    """The baseline: the mean of a spot's features and those of its six nearest."""
    features = cohort.features[row.scaling, row.correction]
    padded = np.vstack([features, np.zeros((1, features.shape[1]))])
    group = np.column_stack([np.arange(len(features)), cohort.nearest])
    return padded[group].sum(axis=1) / (group >= 0).sum(axis=1, keepdims=True)


def score_embedding(cohort: Cohort, name: str, embeddings: list[np.ndarray], seconds: list[float]) -> str:
    """One line of the table, from one embedding per seed and what each took."""
    from sklearn.metrics import adjusted_rand_score

    spots = cohort.scored
    parts = [f"{cohort.name:13} {name:62}"]
    for clusterer in CLUSTERERS:
        agreement, with_donor = [], []
        for seed, embedding in enumerate(embeddings):
            domains = refine(cluster(embedding, N_DOMAINS[cohort.name], clusterer, seed), cohort.nearest)
            agreement.append(adjusted_rand_score(cohort.label[spots], domains[spots]))
            with_donor.append(adjusted_rand_score(cohort.donor[spots], domains[spots]))
        parts.append(f"{clusterer} {np.mean(agreement):.3f} ± {np.std(agreement):.3f}")
        if len(set(cohort.donor)) > 1:
            parts.append(f"donor {np.mean(with_donor):.3f}")
    return "  ".join([*parts, f"{np.mean(seconds):.1f} s"])


def score(cohort: Cohort, row: Row, n_seeds: int) -> str:
    """One line of the table."""
    embeddings, seconds = [], []
    for seed in range(n_seeds):
        start = time.perf_counter()
        embeddings.append(embed_by_model(cohort, row, seed) if row.model else embed_by_neighbour_mean(cohort, row))
        seconds.append(time.perf_counter() - start)
    return score_embedding(cohort, row.name, embeddings, seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", nargs="*", default=list(N_DOMAINS))
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose name holds one of these")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=AestetikSettings().epochs)
    parser.add_argument("--morphology", action="store_true", help="with the weight-free encoder's features (minutes)")
    chosen = parser.parse_args()
    for name in chosen.data:
        cohort = read(chosen.folder / name, chosen.morphology)
        for row in rows(chosen.epochs):
            if not chosen.rows or any(part in row.name for part in chosen.rows):
                print(score(cohort, row, chosen.seeds), flush=True)


if __name__ == "__main__":
    main()

"""How well the labels themselves, learnt from other donors, name the domains of a donor: what features allow at all.

usage: label_ceiling.py FOLDER [--data NAME ...]

FOLDER is that of aestetik_ablation.py. For each scaling and correction, linear discriminant analysis learns the
labels from neighbourhood means of all annotated spots but those of one donor (of one section, where there is one
donor), and names the spots left out; printed is the joint ARI of all names with the labels, and that of an analysis
which was told every label. Labels train here, unlike everywhere else: these are not results of stalign, but bounds
that a method without labels should not be expected to pass by much.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from aestetik_ablation import N_DOMAINS, Cohort, read

from stalign_core.aestetik.windows import window_mean
from stalign_core.grid import window_neighbors

SIDES = (1, 3, 5)
"""Sides of the neighbourhoods, in spots."""
SHRINKAGE = 0.05
"""Of the analysis's covariance: some groups are smaller than the features are many."""


def neighbourhood_means(cohort: Cohort, features: np.ndarray, side: int) -> np.ndarray:
    """Means over the filled cells of each spot's window."""
    n_spots = len(cohort.lattice)
    neighbors = np.full((n_spots, side * side), n_spots, dtype=np.int64)
    for code in np.unique(cohort.sample):
        members = np.flatnonzero(cohort.sample == code)
        local = window_neighbors(cohort.lattice[members], side)
        neighbors[members] = np.where(local >= 0, members[local], n_spots)
    return window_mean(torch.from_numpy(features), torch.from_numpy(neighbors)).numpy()


def named_by_others(rows: np.ndarray, label: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Names of each group's spots, learnt from the other groups."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    names = np.empty(len(rows), dtype=object)
    for code in np.unique(group):
        left_out = group == code
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        names[left_out] = analysis.fit(rows[~left_out], label[~left_out]).predict(rows[left_out])
    return names.astype(str)


def named_by_all(rows: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Names of spots whose labels were all told."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(rows, label).predict(rows)


def main() -> None:
    """Print the table."""
    from sklearn.metrics import adjusted_rand_score

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", nargs="*", default=list(N_DOMAINS))
    chosen = parser.parse_args()
    print("                                                ARI: learnt from other donors   told every label")
    for name in chosen.data:
        cohort = read(chosen.folder / name, with_morphology=False)
        spots = cohort.scored
        group = (cohort.donor if len(set(cohort.donor)) > 1 else cohort.sample)[spots]
        for (scaling, correction), features in cohort.features.items():
            for side in SIDES:
                rows = neighbourhood_means(cohort, features, side)[spots]
                bounds = [
                    adjusted_rand_score(cohort.label[spots], names)
                    for names in (
                        named_by_others(rows, cohort.label[spots], group),
                        named_by_all(rows, cohort.label[spots]),
                    )
                ]
                what = f"{name:13} {scaling}, {correction}, window {side}"
                print(f"{what:50} {bounds[0]:8.3f} {bounds[1]:18.3f}", flush=True)


if __name__ == "__main__":
    main()

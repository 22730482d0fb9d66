"""Whether AESTETIK needs all spots of a large cohort: domains of models trained on all of them, and on a share.

usage: train_fraction.py STUDY [--variant harmony] [--fractions 1 0.1] [--seeds 3]

STUDY is a finished study with annotations, such as the folder ``study`` that `scale.py` leaves. The model is trained
on the corrected features of its cohort, and embeds all spots; domains come from the tied mixture and the majority
vote, as in a run. Each fraction is taken with the study's own epochs, and, where it is below 1, also with as many
steps as all spots have. Printed are the ARI over all annotated spots, mean and standard deviation over seeds, and
CPU seconds of one training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--variant", default="harmony")
    parser.add_argument("--fractions", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    cohort = read(chosen.study, chosen.variant)
    print(f"{len(cohort['labels']):,} spots, K = {cohort['n_domains']}", flush=True)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(chosen.seeds):
        for name, settings in rows(cohort["settings"], chosen.fractions):
            found.setdefault(name, []).append(agreement(cohort, settings, seed))
            print(f"seed {seed}, {name}: {found[name][-1][0]:.3f}", flush=True)
    for name, values in found.items():
        aris, seconds = zip(*values, strict=True)
        print(f"{name:32} ARI {np.mean(aris):.3f} ± {np.std(aris):.3f}, {np.mean(seconds):.0f} s CPU of training")


def rows(settings: Any, fractions: list[float]) -> Iterator[tuple[str, Any]]:
    """Name and settings of each line of the table."""
    for fraction in fractions:
        changed = replace(settings, train_fraction=fraction)
        yield f"{fraction:g} of the spots, {settings.epochs} epochs", changed
        if fraction < 1:
            epochs = round(settings.epochs / fraction)
            yield f"{fraction:g} of the spots, {epochs} epochs", replace(changed, epochs=epochs)


def read(study: Path, variant: str) -> dict[str, Any]:
    """What the model of a study's cohort is made of, the labels, and each spot's nearest."""
    from stalign_assets.rows import labels_of, rows_of
    from stalign_assets.study import open_study
    from stalign_core.domains import distinct_labels, is_annotated
    from stalign_core.grid import nearest_within_samples
    from stalign_core.store.store import UNPARTITIONED

    opened = open_study(study)
    settings = opened.settings
    corrected = opened.store.current(f"cohort/{variant}/corrected_features", UNPARTITIONED)
    if corrected is None:
        raise SystemExit(f"{study} has no corrected features of {variant}; run the cohort first")
    donors = corrected.manifest.donors
    raw = {donor: opened.store.current("raw_samples", donor) for donor in donors}
    spots = rows_of(raw, donors)
    features = {donor: corrected.arrays(f"{donor}.safetensors") for donor in donors}
    grids = {
        (donor, sample): opened.store.current("spot_grids", donor).arrays(f"{sample}.safetensors")
        for donor, sample in spots.spans
    }
    labels = labels_of(raw, spots)
    ignored = settings.domains.ignored_labels
    return {
        "inputs": {
            "expression": spots.stack(features, "expression/"),
            "morphology": spots.stack(features, "morphology/"),
            "has_morphology": spots.stack(features, "has_morphology/"),
            "lattice": np.concatenate([grid["lattice"] for grid in grids.values()]),
            "sample": spots.sample_codes,
        },
        "donor": spots.donor_codes,
        "labels": labels,
        "annotated": is_annotated(labels, ignored),
        "n_domains": len(distinct_labels(labels, ignored)),
        "nearest": nearest_within_samples(
            (grid["positions"] for grid in grids.values()), settings.domains.refine_neighbors
        ),
        "settings": settings.aestetik_of(variant),
    }


def agreement(cohort: dict[str, Any], settings: Any, seed: int) -> tuple[float, float]:
    """ARI of the domains of one training, and CPU seconds that it took."""
    from sklearn.metrics import adjusted_rand_score

    from stalign_core.aestetik import Aestetik
    from stalign_core.domains import cluster, refine

    model = Aestetik(settings, seed=seed)
    began = time.process_time()
    model.fit(**cohort["inputs"], batch=cohort["donor"], n_domains=cohort["n_domains"])
    seconds = time.process_time() - began
    embedding = model.embed(**cohort["inputs"])
    domains = refine(cluster(embedding, cohort["n_domains"], "tied", seed), cohort["nearest"])
    spots = cohort["annotated"]
    return float(adjusted_rand_score(cohort["labels"][spots].astype(str), domains[spots])), seconds


if __name__ == "__main__":
    main()

"""What mapping a section that was never seen gives, beside fitting it together with the others.

usage: new_samples.py FOLDER [--data dlpfc_br8100] [--domains 7] [--methods uncorrected harmony ...] [--seeds 5]
                      [--sections NAME ...] [--drop-genes 0]

FOLDER holds the data set's folder with its samples.csv, whose annotation column names expert labels. Each section in
turn is left out: a reference is fitted on the others, the section is mapped onto it, and its domains are compared with
those it has in the fit of all sections. Labels are read for scores alone. Every line but the last of a method is one
section: mean and standard deviation over seeds 0, 1, ... of

- joint: ARI of the section's labels with its domains in the fit of all sections;
- mapped: the same with the domains it was mapped to;
- difference: mapped less joint;
- agreement: ARI of the two;
- others: how much worse or better the reference's own sections score than in the fit of all sections, by ARI of their
  labels: what of the difference comes of fitting fewer sections, and not of mapping;
- unlike: percentage of the section's spots that are called unlike the reference;
- lacking: panel genes that the section lacks.

`--drop-genes` takes that share of the genes, the same for every seed, from the section that is mapped.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import adjusted_rand_score

import stalign_core as st
from stalign_core.cohort import Cohort, Sample, read_sample_sheet
from stalign_core.correction.registry import METHODS
from stalign_core.integration import Integration
from stalign_core.mapping import encode_section, place_section
from stalign_core.progress import silent
from stalign_core.readers import read_sample
from stalign_core.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

ENCODER = "texture"
COLUMNS = ("joint", "mapped", "difference", "agreement", "others", "unlike", "lacking")


@dataclass
class Fit:
    """Sections whose features are computed once, to be fitted with several seeds."""

    run: Integration
    n_domains: int

    def with_seed(self, method: str, seed: int) -> Integration:
        """Correct, train and name domains."""
        self.run.seed = seed
        self.run.correct(method)
        self.run.train(method, self.n_domains)
        self.run.name_domains(self.n_domains)
        return self.run


def prepared(adata: AnnData, method: str, n_domains: int) -> Fit:
    """The steps that no seed changes."""
    settings = Settings()
    run = Integration(adata, settings, 0, silent)
    run.reduce_expression(method)
    run.embed_morphology(ENCODER, settings.encoders[ENCODER])
    return Fit(run, n_domains)


def without_genes(section: AnnData, share: float) -> AnnData:
    """The section without a random share of its genes."""
    return section[:, np.random.default_rng(0).random(section.n_vars) >= share].copy()


def read_all_but(left_out: Sample, cohort: Cohort) -> AnnData:
    """The other samples of the sheet, joined on the genes that they share."""
    lines = [
        f"{sample.sample},{sample.donor},{sample.path},{sample.image or ''},{sample.annotation or ''}"
        for sample in cohort.samples
        if sample is not left_out
    ]
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "samples.csv"
        sheet.write_text("\n".join(["sample,donor,path,image,annotation", *lines]) + "\n", encoding="utf-8")
        return st.read_cohort(sheet)


def agreement(labels: np.ndarray, domains: np.ndarray) -> float:
    """ARI over the spots that are labelled."""
    scored = labels != ""
    return float(adjusted_rand_score(labels[scored], domains[scored]))


def labels_of(adata: AnnData) -> np.ndarray:
    """Expert labels, empty where there is none."""
    return adata.obs["label"].astype(object).where(adata.obs["label"].notna(), "").to_numpy(dtype=str)


def section_scores(
    reference_fit: Fit, section: AnnData, joint: dict[int, pd.Series], method: str, drop_genes: float
) -> dict[int, list[float]]:
    """The columns, for each seed of `joint`, which holds the domains of all spots in the fit of all sections."""
    new = without_genes(section, drop_genes)
    labels, labels_of_others = labels_of(section), labels_of(reference_fit.run.adata)
    names = section.obs["sample"].astype(str) + "_" + section.obs_names
    scores, encoded = {}, None
    for seed, in_joint_fit in joint.items():
        run = reference_fit.with_seed(method, seed)
        reference = run.reference(method, ENCODER)
        encoded = encoded or encode_section(new, reference)
        found = place_section(new, reference, *encoded)
        own = in_joint_fit[names].to_numpy()
        of_joint, of_mapped = agreement(labels, own), agreement(labels, found.domain)
        others = agreement(labels_of_others, run.adata.obs["domain"].to_numpy(dtype=str))
        scores[seed] = [
            of_joint,
            of_mapped,
            of_mapped - of_joint,
            float(adjusted_rand_score(own, found.domain)),
            others - agreement(labels_of_others, in_joint_fit[run.adata.obs_names].to_numpy()),
            100 * float(found.unlike.mean()),
            len(found.missing_genes),
        ]
    return scores


def line(name: str, scores: np.ndarray) -> str:
    """One line of the table, from (n, columns)."""
    parts = [f"{name:24}"]
    for column, values in zip(COLUMNS, scores.T, strict=True):
        decimals = {"unlike": 1, "lacking": 0}.get(column, 3)
        parts.append(f"{column} {values.mean():+.{decimals}f} ± {values.std():.{decimals}f}")
    return "  ".join(parts)


def compare(sheet: Path, method: str, chosen: argparse.Namespace) -> None:
    """Print one method's lines."""
    cohort = read_sample_sheet(sheet)
    whole = st.read_cohort(sheet)
    start = time.perf_counter()
    fit = prepared(whole, method, chosen.domains)
    joint = {}
    for seed in range(chosen.seeds):
        joint[seed] = fit.with_seed(method, seed).adata.obs["domain"].astype(str)
    every = []
    for sample in cohort.samples:
        if chosen.sections and sample.sample not in chosen.sections:
            continue
        reference_fit = prepared(read_all_but(sample, cohort), method, chosen.domains)
        scores = section_scores(reference_fit, read_sample(sample), joint, method, chosen.drop_genes)
        print(line(f"{method} {sample.sample}", np.array(list(scores.values()))), flush=True)
        every.extend(scores.values())
    print(line(f"{method} all", np.array(every)), f" {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="dlpfc_br8100")
    parser.add_argument("--domains", type=int, default=7)
    able = [name for name, record in METHODS.items() if record.maps]
    parser.add_argument("--methods", nargs="*", default=able, choices=able)
    parser.add_argument("--sections", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--drop-genes", type=float, default=0.0)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    for method in chosen.methods:
        compare(chosen.folder / chosen.data / "samples.csv", method, chosen)


if __name__ == "__main__":
    main()

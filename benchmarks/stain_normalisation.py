"""Stain normalisation, Harmony on morphology, both or neither: what each does to the morphology of several slides.

usage: stain_normalisation.py [HER2ST_FOLDER] [--seeds 5] [--simulated N_DONORS]

Simulated cohorts, one per seed, whose donors' stains differ as stalign_core.simulate draws them, and twice as much:
the true domain of every spot is known. HER2ST_FOLDER, with a sheet samples.csv, adds the slides that have an image.
Printed per setting: iLISI and kBET of the samples (higher: better mixed), ARI of clusters of the morphology components
with the samples (lower: better) and with the annotated domains (higher: better), and the warnings of the fits. Mixing
gained at the cost of the last ARI is no gain. For a real cohort the seed is that of Harmony and of the clustering.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stalign_core.cohort import read_sample_sheet
from stalign_core.correction import correct_where_present
from stalign_core.domains.annotation import is_annotated
from stalign_core.domains.clustering import cluster
from stalign_core.expression.dense_basis import DenseMoments, fit_dense_basis
from stalign_core.metrics.agreement import adjusted_rand_index
from stalign_core.metrics.mixing import ilisi, kbet
from stalign_core.metrics.neighborhoods import find_neighborhoods, neighborhood_size
from stalign_core.morphology import embed_section
from stalign_core.readers import read_sample
from stalign_core.settings import EncoderSettings, Settings
from stalign_core.simulate import CohortDesign, simulate_cohort

METHODS = ("none", "macenko", "reinhard")
CORRECTIONS = ("uncorrected", "harmony")
MEASURES = ("iLISI", "kBET", "ARI sample", "ARI domain")
SHIFTS = (1.0, 2.0)
"""Spread of donors' stains, in the simulation's own."""
N_NEIGHBORS = 90


@dataclass(frozen=True)
class Slides:
    """Spots of all slides with an image: components of their morphology, sample and label, and what fits warned of."""

    components: np.ndarray
    sample: np.ndarray
    label: np.ndarray
    warnings: list[str]


def read_slides(sheet: Path, method: str) -> Slides:
    """Encode the slides of a sheet that have an image, each normalised alone."""
    settings = Settings()
    morphology = settings.morphology.model_copy(update={"stain_normalisation": method})
    found, names, labels, warnings = [], [], [], []
    for sample in read_sample_sheet(sheet).samples:
        section = read_sample(sample)
        if not section.uns["stalign"]["image"]:
            continue
        embedding = embed_section(section, "texture", EncoderSettings(), morphology)
        kept = embedding.observed
        found.append(embedding.features[kept])
        names.append(np.full(int(kept.sum()), sample.sample, dtype=object))
        label = section.obs["label"].astype(object).to_numpy() if "label" in section.obs else None
        labels.append(np.full(int(kept.sum()), None, dtype=object) if label is None else label[kept])
        if warning := embedding.facts.get("stain", {}).get("warning"):
            warnings.append(f"{sample.sample}: {warning}")
    moments = DenseMoments.empty(found[0].shape[1])
    for features in found:
        moments.add_rows(features, None, where="slide")
    basis = fit_dense_basis(moments, morphology.n_components)
    components = np.concatenate([basis.project(features, None, where="slide") for features in found])
    return Slides(components, np.concatenate(names), np.concatenate(labels), warnings)


def measures(slides: Slides, correction: str, seed: int) -> np.ndarray:
    """The four `MEASURES` of a correction."""
    present = np.ones(len(slides.sample), dtype=bool)
    rows = correct_where_present(
        correction, slides.components, present, slides.sample, Settings().correction, seed
    ).features
    neighborhoods = find_neighborhoods(rows, neighborhood_size(slides.sample, N_NEIGHBORS))
    known = is_annotated(slides.label)
    n_domains = len(np.unique(slides.label[known].astype(str))) if known.any() else 6
    clusters = cluster(rows, n_domains, "kmeans", seed)
    return np.array(
        [
            ilisi(neighborhoods, slides.sample),
            kbet(neighborhoods, slides.sample),
            adjusted_rand_index(clusters, slides.sample),
            adjusted_rand_index(clusters[known], slides.label[known].astype(str)) if known.any() else np.nan,
        ]
    )


def simulated(folder: Path, shift: float, n_donors: int, n_seeds: int) -> Iterator[tuple[Path, int]]:
    """Sheets of simulated cohorts whose donors' stains spread `shift` times as far as usual."""
    usual = CohortDesign().histology
    histology = replace(usual, donor_stain_sd=shift * usual.donor_stain_sd, donor_hue_sd=shift * usual.donor_hue_sd)
    design = replace(CohortDesign(), n_donors=n_donors, sections_per_donor=1, n_genes=200, histology=histology)
    for seed in range(n_seeds):
        yield simulate_cohort(folder / f"{shift:g}_{seed}", design, seed), seed


def show(title: str, sheets: list[tuple[Path, int]]) -> None:
    """Print mean and standard deviation over the seeds of every setting."""
    print(f"\n{title}\n| stains | correction | " + " | ".join(MEASURES) + " |\n|---|---|" + "---|" * len(MEASURES))
    warnings: dict[str, None] = {}
    for method in METHODS:
        cohorts = {sheet: read_slides(sheet, method) for sheet in dict.fromkeys(sheet for sheet, _ in sheets)}
        for slides in cohorts.values():
            warnings.update(dict.fromkeys(f"{method}, {line}" for line in slides.warnings))
        for correction in CORRECTIONS:
            values = np.array([measures(cohorts[sheet], correction, seed) for sheet, seed in sheets])
            cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(values.mean(0), values.std(0), strict=True)]
            print(f"| {method} | {correction} | " + " | ".join(cells) + " |", flush=True)
    print("\n".join(warnings))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--simulated", type=int, default=3, metavar="N_DONORS", help="0: none")
    chosen = parser.parse_args()
    if chosen.folder:
        show(chosen.folder.name, [(chosen.folder / "samples.csv", seed) for seed in range(chosen.seeds)])
    with tempfile.TemporaryDirectory() as scratch:
        for shift in SHIFTS if chosen.simulated else ():
            sheets = list(simulated(Path(scratch), shift, chosen.simulated, chosen.seeds))
            show(f"simulated, {chosen.simulated} donors, stains spread {shift:g} times as usual", sheets)


if __name__ == "__main__":
    main()

"""Donors of a simulated cohort on disk, a section of 5,000 spots each, made in seconds and one at a time.

The numbers were set beside public sections. Within sections of human prefrontal cortex (Visium, 7,319 filtered genes)
8 to 10 % of the counts are not zero (placenta, all genes: 2 %; breast tumours on the older ST array: 9 to 23 %). Over
genes seen in 10 spots, log mean counts spread by 1.6 to 1.7; log library sizes spread by .6. The median dispersion phi
(variance = mean + phi mean^2, by moments, library size taken out) falls with a gene's mean: .7 at .03 to .1, .35 at .1
to .3, .24 at .3 to 1, .14 above 1. Simulated sections have 8.9 %, 1.55, .5, and .70, .39, .23, .16.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common.synthetic import LAYER_ROWS, SECTION_COLUMNS, SECTION_ROWS

Floats = NDArray[np.float64]

N_GENES = 12_000
N_DOMAINS = 7
MEDIAN_LIBRARY = 1_500
"""Counts of a median spot over all genes; cortex has 1,300 over 7,319."""
LOG_LIBRARY_DEVIATION = 0.5
LOG_MEAN_DEVIATION = 1.7
MARKER_SHARE, MARKER_DEVIATION = 0.12, 0.6
"""Share of the genes that a domain's programme touches, and the spread of their log fold changes."""
DONOR_DEVIATION = 0.2
"""Spread of a donor's log factors of genes."""
DISPERSION_FLOOR, DISPERSION_SLOPE, DISPERSION_POWER = 0.1, 0.06, -0.8
"""phi = floor + slope * mean ** power."""
VALUES_PER_BLOCK = 3_000_000

SPOT_DISTANCE, SPOT_DIAMETER, MARGIN = 10.0, 5.5, 12
"""In pixels of the image: as coarse as Space Ranger's lowres picture, which costs what any image of that size does."""


@dataclass(frozen=True)
class Biology:
    """What all donors share: log shares of genes in each domain (n_domains, n_genes), and colours of domains."""

    log_share: Floats
    color: Floats


def shared_biology(seed: int = 0) -> Biology:
    """The same for every donor of a cohort."""
    rng = np.random.default_rng([seed, 0])
    base = rng.normal(0, LOG_MEAN_DEVIATION, N_GENES)
    touched = rng.random((N_DOMAINS, N_GENES)) < MARKER_SHARE
    effects = touched * rng.normal(0, MARKER_DEVIATION, touched.shape)
    return Biology(base + effects, rng.uniform(110, 230, (N_DOMAINS, 3)))


def donor_name(index: int) -> str:
    """Donors are numbered from 0."""
    return f"D{index:03d}"


def write_donor(
    folder: Path, index: int, biology: Biology, seed: int = 0, n_rows: int = SECTION_ROWS
) -> dict[str, str]:
    """Write counts (.h5ad), image (JPEG) and labels (CSV) of a donor's section; its row of the sample sheet."""
    rng = np.random.default_rng([seed, 1, index])
    name = donor_name(index)
    row, column = (grid.ravel() for grid in np.mgrid[:n_rows, :SECTION_COLUMNS])
    bend = 4 * np.sin(column / 15 + rng.uniform(0, 2 * np.pi))
    domain = (np.clip(row + bend, 0, n_rows - 1) // LAYER_ROWS).astype(np.int64) % N_DOMAINS
    positions = MARGIN + SPOT_DISTANCE * np.column_stack([column + row % 2 / 2, row * np.sqrt(3) / 2])
    counts = draw_counts(biology, domain, rng)
    barcodes = [f"SPOT{number:05d}-1" for number in range(len(row))]
    _write_counts(
        folder / f"{name}.h5ad", name, counts, barcodes, np.column_stack([row, 2 * column + row % 2]), positions
    )
    _write_image(folder / f"{name}.jpg", biology, domain, positions, rng)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream)
        lines.writerow(["barcode", "label"])
        lines.writerows(zip(barcodes, (f"layer{number + 1}" for number in domain), strict=True))
    return {
        "sample": f"{name}_S1",
        "donor": name,
        "path": f"{name}.h5ad",
        "image": f"{name}.jpg",
        "annotation": f"{name}.csv",
    }


def draw_counts(biology: Biology, domain: NDArray[np.int64], rng: np.random.Generator) -> sparse.csr_matrix:
    """Negative-binomial counts of a section, (n_spots, n_genes) int32.

    Zeros are told from the rest by one uniform number each; only what is not zero is drawn, by going up the
    distribution function, so that a section takes two seconds instead of ten.
    """
    share = np.exp(biology.log_share + rng.normal(0, DONOR_DEVIATION, N_GENES))
    share /= share.sum(axis=1, keepdims=True)
    library = MEDIAN_LIBRARY * np.exp(rng.normal(0, LOG_LIBRARY_DEVIATION, len(domain)))
    mean = share.mean(axis=0) * library.mean()
    dispersion = (DISPERSION_FLOOR + DISPERSION_SLOPE * mean**DISPERSION_POWER).astype(np.float32)
    rate = share.astype(np.float32)
    n_rows = max(1, VALUES_PER_BLOCK // N_GENES)
    blocks = []
    for start in range(0, len(domain), n_rows):
        rows = slice(start, start + n_rows)
        means = rate[domain[rows]] * library[rows, None].astype(np.float32)
        blocks.append(_negative_binomial(means, dispersion, rng))
    return sparse.vstack(blocks, format="csr")


def _negative_binomial(
    means: NDArray[np.float32], dispersion: NDArray[np.float32], rng: np.random.Generator
) -> sparse.csr_matrix:
    """Counts with these means (n, g) and the variance ``mean + dispersion mean^2``, zeros left out."""
    none = np.exp(-np.log1p(dispersion * means) / dispersion)
    row, column = np.nonzero(rng.random(means.shape, dtype=np.float32) >= none)
    size = 1 / dispersion[column].astype(np.float64)
    odds = means[row, column] / (means[row, column] + size)
    chance = none[row, column].astype(np.float64)
    goal = chance + rng.random(len(row)) * (1 - chance)
    value = np.zeros(len(row), dtype=np.int32)
    reached = chance.copy()
    climbing = np.arange(len(row))
    while len(climbing):
        step = value[climbing]
        chance[climbing] *= odds[climbing] * (step + size[climbing]) / (step + 1)
        reached[climbing] += chance[climbing]
        value[climbing] += 1
        # What rounding leaves out of the sum must not keep anybody climbing.
        climbing = climbing[(reached[climbing] < goal[climbing]) & (chance[climbing] > 1e-12)]
    return sparse.csr_matrix((value, (row, column)), shape=means.shape)


def _write_counts(
    path: Path, name: str, counts: sparse.csr_matrix, barcodes: list[str], array: NDArray[np.int64], positions: Floats
) -> None:
    import anndata
    import pandas as pd

    obs = pd.DataFrame({"array_row": array[:, 0], "array_col": array[:, 1]}, index=barcodes)
    genes = [f"ENSG{number:011d}" for number in range(1, N_GENES + 1)]
    section = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))
    section.obsm["spatial"] = positions
    section.uns["spatial"] = {f"{name}_S1": {"scalefactors": {"spot_diameter_fullres": SPOT_DIAMETER}}}
    section.write_h5ad(path)


def _write_image(
    path: Path, biology: Biology, domain: NDArray[np.int64], positions: Floats, rng: np.random.Generator
) -> None:
    """Each pixel has the colour of the nearest spot's domain, under a donor's stain and noise."""
    from PIL import Image
    from scipy.spatial import cKDTree

    width, height = np.ceil(positions.max(axis=0)).astype(int) + MARGIN
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    nearest = cKDTree(positions).query(np.column_stack([x.ravel(), y.ravel()]))[1].reshape(height, width)
    color = biology.color * rng.normal(1, 0.05, 3)
    grain = rng.normal(0, 12, (height, width, 1)) + rng.normal(0, 4, (height, width, 3))
    Image.fromarray(np.clip(color[domain[nearest]] + grain, 0, 255).astype(np.uint8)).save(path, quality=85)

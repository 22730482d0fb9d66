"""Sections for the tests of expression: simulated ones, and the public ones read without stalign's readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

Sections = dict[str, tuple[csr_matrix, list[str]]]


def simulated_sections(seed: int = 0, n_genes: int = 400, sizes: tuple[int, ...] = (150, 90, 60)) -> Sections:
    """Negative-binomial counts; each section lacks one gene of its own and has its genes in an order of its own."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"g{number}" for number in range(n_genes)])
    mean = rng.lognormal(-0.5, 1.3, n_genes)
    program = rng.lognormal(0, 0.8, (3, n_genes))
    sections: Sections = {}
    for number, n_spots in enumerate(sizes):
        spot_mean = mean * program[rng.integers(3, size=n_spots)] * rng.lognormal(0, 0.4, (n_spots, 1))
        counts = rng.negative_binomial(1.5, 1 / (1 + spot_mean / 1.5))
        order = rng.permutation(n_genes) if number else np.arange(n_genes)
        order = order[order != n_genes - 1 - number]
        sections[f"s{number}"] = (csr_matrix(counts[:, order].astype(np.int32)), genes[order].tolist())
    return sections


def concatenated(sections: Sections, dtype: type = np.float64) -> Any:
    """The sections as one AnnData over their shared genes, as scanpy's users join them."""
    import anndata

    parts = {
        sample: anndata.AnnData(counts.astype(dtype), var=pd.DataFrame(index=genes))
        for sample, (counts, genes) in sections.items()
    }
    return anndata.concat(parts, join="inner", label="sample", index_unique="_")


def dlpfc_sections(folder: Path) -> Sections:
    """The four sections of donor Br8100."""
    import scanpy

    sections: Sections = {}
    for sample in ("151673", "151674", "151675", "151676"):
        section = scanpy.read_10x_h5(folder / sample / "filtered_feature_bc_matrix.h5")
        sections[sample] = (csr_matrix(section.X).astype(np.int32), section.var["gene_ids"].tolist())
    return sections


def her2st_sections(folder: Path) -> Sections:
    """The 24 sections of donors A to D."""
    import anndata

    sections: Sections = {}
    for path in sorted(folder.glob("*.h5ad")):
        section = anndata.read_h5ad(path)
        sections[path.stem] = (csr_matrix(section.X).astype(np.int32), section.var_names.tolist())
    return sections

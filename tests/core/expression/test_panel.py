from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stalign_core.errors import InputDataError
from stalign_core.expression.gene_statistics import gene_histogram
from stalign_core.expression.panel import GenePanel, select_panel

from .sections import Sections, concatenated, dlpfc_sections, her2st_sections, simulated_sections


def panel_of(sections: Sections, n_top_genes: int, min_spots_per_gene: int = 10) -> GenePanel:
    histograms = {sample: gene_histogram(*section) for sample, section in sections.items()}
    return select_panel(histograms, n_top_genes, min_spots_per_gene)


def scanpy_genes(sections: Sections, n_top_genes: int) -> Any:
    """The shared genes as scanpy ranks them, AnnData."""
    import scanpy

    joined = concatenated(sections)
    scanpy.pp.filter_genes(joined, min_cells=10)
    scanpy.pp.highly_variable_genes(joined, flavor="seurat_v3", batch_key="sample", n_top_genes=n_top_genes)
    return joined


def scanpy_panel(sections: Sections, n_top_genes: int) -> list[str]:
    """The highly variable genes, best first."""
    ranked = scanpy_genes(sections, n_top_genes).var.sort_values(
        ["highly_variable_rank", "highly_variable_nbatches"], ascending=[True, False], na_position="last"
    )
    panel: list[str] = ranked.index[:n_top_genes].tolist()
    return panel


def assert_equals_scanpy(panel: GenePanel, sections: Sections, n_top_genes: int) -> None:
    joined = scanpy_genes(sections, n_top_genes)
    assert set(panel.genes) == set(joined.var_names[joined.var["highly_variable"]])
    assert panel.genes.tolist() == scanpy_panel(sections, n_top_genes)
    chosen = joined.var.loc[panel.genes]
    np.testing.assert_array_equal(panel.table["median_rank"], chosen["highly_variable_rank"])
    np.testing.assert_array_equal(panel.table["n_samples"], chosen["highly_variable_nbatches"])
    np.testing.assert_allclose(panel.table["normalised_variance"], chosen["variances_norm"], rtol=1e-12)
    assert panel.n_kept == joined.n_vars


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_top_genes", [30, 200])
def test_panel_equals_scanpy_on_the_concatenation(seed: int, n_top_genes: int) -> None:
    sections = simulated_sections(seed)
    assert_equals_scanpy(panel_of(sections, n_top_genes), sections, n_top_genes)


def test_one_section_alone_equals_scanpy() -> None:
    sections = simulated_sections(sizes=(150,))
    assert_equals_scanpy(panel_of(sections, 50), sections, 50)


@pytest.mark.real_data
def test_panel_equals_scanpy_on_dlpfc(real_data: Callable[[str], Path]) -> None:
    sections = dlpfc_sections(real_data("dlpfc_br8100"))
    panel = panel_of(sections, 3000)
    assert_equals_scanpy(panel, sections, 3000)
    assert panel.n_shared == 3837
    assert panel.lost == {"151673": 3482, "151674": 1163, "151675": 3482, "151676": 3482}


@pytest.mark.real_data
def test_panel_equals_scanpy_on_24_small_sections(real_data: Callable[[str], Path]) -> None:
    sections = her2st_sections(real_data("her2st_abcd"))
    assert_equals_scanpy(panel_of(sections, 3000), sections, 3000)


def test_every_kept_gene_is_taken_where_fewer_than_asked_are_there() -> None:
    panel = panel_of(simulated_sections(n_genes=60), 3000)
    assert len(panel.genes) == panel.n_kept <= 57
    assert len(set(panel.genes)) == panel.n_kept


def test_genes_not_shared_are_counted_where_they_are_lost() -> None:
    panel = panel_of(simulated_sections(), 50)
    assert panel.n_shared == 397
    assert panel.lost == {"s0": 2, "s1": 2, "s2": 2}
    assert not set(panel.genes) & {"g399", "g398", "g397"}


def test_samples_without_a_shared_gene_are_refused() -> None:
    counts = csr_matrix(np.ones((3, 2), dtype=int))
    histograms = {"a": gene_histogram(counts, ["x", "y"]), "b": gene_histogram(counts, ["z", "w"])}
    with pytest.raises(InputDataError, match="share no gene"):
        select_panel(histograms, 10, 1)


def test_genes_all_too_rare_are_refused() -> None:
    with pytest.raises(InputDataError, match="none of the 397 shared genes is seen in 1000 spots"):
        panel_of(simulated_sections(), 50, min_spots_per_gene=1000)


def test_a_sample_too_small_for_the_fit_is_named() -> None:
    sections = simulated_sections()
    n_genes = sections["s0"][0].shape[1]
    sections["tiny"] = (csr_matrix(np.ones((2, n_genes), dtype=int)), sections["s0"][1])
    with pytest.raises(InputDataError, match="sample tiny: has too few different genes that vary"):
        panel_of(sections, 5)


def test_a_sample_with_one_spot_is_named() -> None:
    sections = simulated_sections(sizes=(150, 1))
    with pytest.raises(InputDataError, match="sample s1: has 1 spot"):
        panel_of(sections, 5)

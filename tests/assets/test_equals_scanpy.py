"""What a study stores of its cohort is what scanpy computes on the donors' counts joined in one matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stalign_assets.study import open_study
from stalign_core.expression.basis import Scaling
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED
from tests.core.expression.sections import Sections
from tests.core.expression.test_basis import scanpy_pca
from tests.core.expression.test_panel import scanpy_panel
from tests.studies import TINY_SETTINGS

pytestmark = pytest.mark.slow

SPACES: dict[str, Scaling] = {"expression_pca": "cohort", "correction_pca": "sample"}


def stored(study: Path, asset: str, partition: str = UNPARTITIONED) -> Artifact:
    found = open_study(study).store.current(asset, partition)
    assert found is not None
    return found


def sections_of(study: Path) -> Sections:
    """Counts and genes of each sample, as the donors' artifacts hold them."""
    sections: Sections = {}
    for donor in open_study(study).cohort.donors:
        raw = stored(study, "raw_samples", donor)
        for sample in sorted(raw.manifest.summary["samples"]):
            section = raw.anndata(f"{sample}.counts.h5ad")
            sections[sample] = (section.X, section.var_names.tolist())
    return sections


def components_of(study: Path, asset: str) -> np.ndarray:
    """Components of all spots, in the order of `sections_of`."""
    artifact = stored(study, f"cohort/{asset}")
    parts = [artifact.arrays(f"{donor}.safetensors") for donor in open_study(study).cohort.donors]
    return np.concatenate([part[sample] for part in parts for sample in sorted(part)])


def test_panel_and_components_that_are_stored_equal_scanpys(finished_study: Path) -> None:
    expression = TINY_SETTINGS["expression"]
    sections = sections_of(finished_study)
    panel = stored(finished_study, "cohort/gene_panel").table("panel.parquet")["gene"].tolist()
    assert panel == scanpy_panel(sections, expression["n_top_genes"])
    for asset, scaling in SPACES.items():
        theirs = scanpy_pca(sections, panel, scaling, expression["n_components"]).obsm["X_pca"]
        ours = components_of(finished_study, asset)
        signs = np.sign((ours * theirs).sum(axis=0))
        np.testing.assert_allclose(ours, theirs * signs, atol=1e-4, err_msg=asset)

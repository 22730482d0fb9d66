"""Stain normalisation is part of the key of morphology, of nothing's key where it is off, and a study does it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import stalign_core as st
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import KeyContext
from stalign_assets.settings_file import set_value
from stalign_assets.stored_reference import stored_reference
from stalign_assets.study import open_study
from stalign_core import keys
from stalign_core.settings import parse_settings
from stalign_core.store import Artifact
from tests.studies import run


def _key(morphology: dict[str, Any]) -> dict[str, Any]:
    settings = parse_settings({"morphology": morphology})
    # the default encoder has no weights to look up: of the study its settings alone are asked
    study: Any = SimpleNamespace(settings=settings)
    return dict(recipes_of(settings)["morphology_embeddings/texture"].settings(KeyContext(study, "A", ("A",), {})))


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_a_method_enters_the_key_and_none_does_not(method: str) -> None:
    plain = _key({})
    assert set(plain) == {"encoder", "weights", "patch_diameters"}
    assert _key({"stain_normalisation": "none"}) == plain
    assert _key({"stain_normalisation": method}) == {**plain, "stain_normalisation": method}


@pytest.mark.slow
def test_a_study_normalises_stains_and_keeps_what_was_fitted(study: Path) -> None:
    before = {donor: _embeddings(study, donor) for donor in ("P01", "P02")}
    set_value(study / "study.toml", "morphology", "stain_normalisation", "reinhard")
    assert run(study, scopes="cohort", variants="harmony").success
    for donor, earlier in before.items():
        now = _embeddings(study, donor)
        assert now.manifest.data_version != earlier.manifest.data_version
        for name in now.names("*.facts.json"):
            stain = now.json(name)["stain"]
            assert stain["method"] == "reinhard" and stain["n_tissue_pixels"] > 0
    _mapping_normalises_too(study)


def _mapping_normalises_too(study: Path) -> None:
    """A section that is mapped gets the features that the study's own embedding of it has."""
    adata = st.read_cohort(study / "samples.csv")
    st.map_samples(adata, stored_reference(open_study(study), "harmony"))
    for donor in ("P01", "P02"):
        own = adata[adata.obs[keys.DONOR] == donor]
        stored = _embeddings(study, donor).arrays(f"{donor}_S1.safetensors")["features"]
        np.testing.assert_allclose(own.obsm[keys.X_MORPHOLOGY], stored, rtol=1e-5, atol=1e-6)


def _embeddings(study: Path, donor: str) -> Artifact:
    found = open_study(study).store.current("morphology_embeddings/texture", donor)
    assert found is not None
    return found

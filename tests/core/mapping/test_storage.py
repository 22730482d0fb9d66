from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import stalign_core as st
from stalign_core.errors import ModelError
from stalign_core.mapping import storage

from .conftest import Fitted

if TYPE_CHECKING:
    from anndata import AnnData

Fit = Callable[[str], Fitted]


@pytest.mark.parametrize("method", ["uncorrected", "harmony", "scvi"])
def test_a_loaded_reference_maps_as_the_saved_one(method: str, fitted: Fit, new: AnnData, tmp_path: Path) -> None:
    reference = fitted(method)[1]
    st.save_reference(reference, tmp_path / "reference")
    again = new.copy()
    st.map_samples(new, reference)
    st.map_samples(again, st.load_reference(tmp_path / "reference"))
    for key in new.obsm:
        np.testing.assert_array_equal(again.obsm[key], new.obsm[key])
    for key in ("domain", "domain_unrefined", "domain_confidence", "unlike_reference", "has_morphology"):
        assert (again.obs[key] == new.obs[key]).all()
    assert again.uns["stalign"]["mapping"] == new.uns["stalign"]["mapping"]


def test_files_are_safetensors_and_json_and_no_spot_is_among_them(fitted: Fit, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    adata, reference = fitted("harmony")
    st.save_reference(reference, tmp_path / "reference")
    files = [path for path in (tmp_path / "reference").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    assert [path.name for path in tmp_path.iterdir()] == ["reference"]
    shapes = [array.shape for path in files if path.suffix == ".safetensors" for array in load_file(path).values()]
    assert all(adata.n_obs not in shape for shape in shapes)


def test_a_reference_replaces_another_and_nothing_else(fitted: Fit, tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    st.save_reference(fitted("harmony")[1], folder)
    st.save_reference(fitted("uncorrected")[1], folder)
    assert st.load_reference(folder).method == "uncorrected"
    assert [path.name for path in tmp_path.iterdir()] == ["reference"]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("words")
    with pytest.raises(ModelError, match="thesis: exists and holds no reference"):
        st.save_reference(fitted("harmony")[1], other)
    assert [path.name for path in other.iterdir()] == ["chapter.txt"]


def test_a_write_that_fails_leaves_the_former_reference(
    fitted: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reference"
    st.save_reference(fitted("harmony")[1], folder)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(storage, "_write_arrays", full)
    with pytest.raises(OSError, match="no space"):
        st.save_reference(fitted("uncorrected")[1], folder)
    assert [path.name for path in tmp_path.iterdir()] == ["reference"]
    assert st.load_reference(folder).method == "harmony"


def test_missing_damaged_and_newer_references_are_named(fitted: Fit, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: holds no readable reference"):
        st.load_reference(tmp_path / "nowhere")
    folder = tmp_path / "reference"
    st.save_reference(fitted("harmony")[1], folder)
    facts = json.loads((folder / "reference.json").read_text())
    (folder / "domains.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="holds no readable reference"):
        st.load_reference(folder)
    (folder / "reference.json").write_text(json.dumps({**facts, "format": 2}))
    with pytest.raises(ModelError, match="newer stalign"):
        st.load_reference(folder)

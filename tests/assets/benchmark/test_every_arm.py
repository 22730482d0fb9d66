"""A single-donor study with everything that can be compared: methods, models, encoders, an embedding from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import stalign_core as st
from stalign_assets.benchmarking import Outcome, run_benchmark
from stalign_assets.new_study import create_study
from stalign_assets.recipes.benchmark.trials import CORRECTIONS
from stalign_assets.study import open_study
from stalign_core import keys
from stalign_core.settings import parse_settings
from stalign_core.simulate import simulate_cohort
from tests.assets.benchmark.test_benchmark import DESIGN, ONE_BY_ONE, replace, table
from tests.studies import TINY_SETTINGS

pytestmark = pytest.mark.slow

METHODS = ("uncorrected", "harmony", "scanorama", "scvi")
SETTINGS: dict[str, Any] = {
    **TINY_SETTINGS,
    **ONE_BY_ONE,
    "correction": {"scvi": {"max_epochs": 2}},
    "domains": {"refine": False},
    "encoders": {"texture": {}, "vit": {"model": "timm:test_vit", "weights": "weights.safetensors"}},
    "representations": {"outside": {"obsm": "X_outside", "file": "{sample}.h5ad"}},
    "variants": {
        "harmony": {"correction": "harmony"},
        "second": {"correction": "harmony", "encoder": "vit"},
        "outside": {"correction": "harmony", "representation": "outside"},
    },
    "benchmark": {
        "tasks": ["single_donor"],
        "methods": METHODS,
        "models": ["alone", "aestetik", "reference"],
        "seeds": [0, 1],
        "model_seeds": {"aestetik": [0], "reference": [0]},
        "grids": {
            "harmony": {"theta": [1.0, 4.0]},
            "scanorama": {"sigma": [15.0]},
            "scvi": {"n_layers": [1]},
            "aestetik": {"morphology_weight": [1.5], "window": [3], "refine": [True]},
        },
        "windows": [],
        "morphology_weights": [],
        "scib_spots": 0,
    },
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of a benchmark on two donors of two sections each."""
    import timm
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("every_arm")
    sheet = simulate_cohort(root / "data", replace(DESIGN, n_donors=2, sections_per_donor=2), seed=5)
    folder = root / "study"
    create_study(folder, sheet, parse_settings(SETTINGS))
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), folder / "weights.safetensors")
    write_embeddings(sheet, folder)
    found = run_benchmark(folder)
    assert found.exit_code == 0, (found.bad_input, found.failures)
    return found


@pytest.fixture(scope="module")
def folder(outcome: Outcome) -> Path:
    """Its study."""
    return outcome.study.folder


def write_embeddings(sheet: Path, folder: Path) -> None:
    """An embedding from outside: random projections of log counts."""
    cohort = st.read_cohort(sheet)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(cohort.n_vars, 10))
    for sample in cohort.obs[keys.SAMPLE].unique():
        spots = cohort[cohort.obs[keys.SAMPLE] == sample]
        outside = AnnData(obs=pd.DataFrame(index=spots.obs[keys.BARCODE].astype(str).to_numpy()))
        outside.obsm["X_outside"] = (np.log1p(spots.X.toarray()) @ directions).astype(np.float32)
        outside.write_h5ad(folder / f"{sample}.h5ad")


def pooled(folder: Path, role: str, metric: str = "ari") -> pd.DataFrame:
    """One metric over all spots of each group, by the default clusterer."""
    trials = table(folder, "trials")
    rows = trials[(trials["role"] == role) & (trials["metric"] == metric) & trials["sample"].isna()]
    return rows[(rows["clusterer"] == "tied")]


def test_each_donor_tunes_once_and_the_other_is_tested_alone(folder: Path) -> None:
    tuned = pooled(folder, "tuning").groupby("fold")["donors"].agg(set).to_dict()
    tested = pooled(folder, "test").groupby("fold")["donors"].agg(set).to_dict()
    assert tuned == {1: {"P01"}, 2: {"P02"}}
    assert tested == {1: {"P02"}, 2: {"P01"}}


def test_every_method_model_encoder_and_embedding_is_tested_in_every_fold(folder: Path) -> None:
    tests = pooled(folder, "test").fillna({"encoder": ""})
    assert tests["value"].between(-1, 1).all()
    expected = {(method, "pca", "") for method in METHODS}
    expected |= {(f"{method}+aestetik", "pca", encoder) for method in METHODS for encoder in ("texture", "vit")}
    expected |= {("harmony+reference", "pca", "texture")}
    expected |= {(method, "outside", "") for method in ("uncorrected", "harmony")}
    expected |= {(f"{method}+aestetik", "outside", "texture") for method in ("uncorrected", "harmony")}
    for _, rows in tests.groupby("fold"):
        assert set(zip(rows["arm"], rows["representation"], rows["encoder"], strict=True)) == expected


def test_the_published_preset_refines_as_published_where_the_study_does_not(folder: Path) -> None:
    chosen = table(folder, "chosen")
    for arm, refined in (("harmony+reference", True), ("uncorrected+aestetik", False)):
        rows = chosen[(chosen["arm"] == arm) & (chosen["encoder"] == "texture") & (chosen["representation"] == "pca")]
        assert len(rows) == 2 * 2 and rows["score"].isna().all() and (rows["refined"] == refined).all()


def test_scvi_is_trained_with_every_seed(folder: Path) -> None:
    kept = [artifact.manifest for artifact in open_study(folder).store.artifacts()]
    trainings = {
        (manifest.partition, manifest.seed)
        for manifest in kept
        if manifest.asset == CORRECTIONS and manifest.summary["method"] == "scvi"
    }
    assert trainings == {(donor, seed) for donor in ("P01", "P02") for seed in (0, 1)}
    spaces = pooled(folder, "test", "silhouette")
    spaces = spaces[spaces["arm"] == "scvi"]
    assert (spaces.groupby("fold")["value"].nunique() == 2).all(), "seeds give latent spaces of their own"


def test_differences_are_paired_by_donor_with_the_least_p_that_two_pairs_allow(folder: Path) -> None:
    differences = table(folder, "differences")
    rows = differences[(differences["unit"] == "donor") & (differences["clusterer"] == "tied")]
    rows = rows[rows["representation"] == "pca"]
    assert set(rows["method"]) == set(METHODS)
    assert (rows["n_pairs"] == 2).all()
    assert rows["p"].isin([0.5, 1.0]).all()
    trials = table(folder, "trials")
    own = trials[(trials["role"] == "test") & (trials["metric"] == "ari") & trials["sample"].notna()]
    own = own[(own["clusterer"] == "tied") & (own["representation"] == "pca") & (own["method"] == "harmony")]
    alone = own[own["model"] == "alone"].groupby(["donor", "sample"])["value"].mean().groupby("donor").mean()
    joint = own[(own["model"] == "aestetik") & (own["encoder"] == "vit")].groupby(["donor", "sample"])["value"].mean()
    row = rows[(rows["method"] == "harmony") & (rows["model"] == "aestetik") & (rows["encoder"] == "vit")].iloc[0]
    assert row["difference"] == pytest.approx((joint.groupby("donor").mean() - alone).mean())


def test_figures_of_embeddings_and_encoders_are_drawn(outcome: Outcome, folder: Path) -> None:
    from matplotlib.image import imread

    drawn = {"figure_2", "figure_4", "figure_12", "figure_3_single_donor", "figure_10_single_donor_scvi_aestetik"}
    for name in drawn:
        assert imread(folder / "reports" / "benchmark" / f"{name}.png").std() > 0, name
    assert set(outcome.missing) == {"figure_5", "figure_13_single_donor"}


def test_the_page_names_what_each_bar_was_made_with(folder: Path) -> None:
    page = (folder / "reports" / "benchmark" / "benchmark.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in ("vit", "texture", "outside", "scvi+aestetik"))

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from stalign_core.correction import METHODS, CorrectionResult
from stalign_core.correction.scvi import fit_scvi
from stalign_core.correction.scvi_network import latent_means, rebuild_scvi
from stalign_core.errors import CorrectionError, SettingsError
from stalign_core.settings import CorrectionSettings, ScviSettings

from .cohorts import batch_counts, mixing

N_LATENT = 4


def settings_of(max_epochs: int = 3, patience: int = 10, n_layers: int = 1, batch_size: int = 64) -> CorrectionSettings:
    return CorrectionSettings(
        scvi=ScviSettings(
            max_epochs=max_epochs,
            early_stopping_patience=patience,
            n_layers=n_layers,
            n_hidden=32,
            batch_size=batch_size,
        )
    )


def fit(counts: csr_matrix, batches: np.ndarray, seed: int = 0, **settings: int) -> CorrectionResult:
    return fit_scvi(counts, batches, settings_of(**settings), N_LATENT, seed, device="cpu")


def test_batches_mix_in_the_latent_space() -> None:
    counts, batches = batch_counts()
    dense = np.log1p(counts.toarray())
    result = fit(counts, batches, max_epochs=30, patience=30, batch_size=32)
    assert result.features.shape == (300, N_LATENT)
    assert result.features.dtype == np.float32
    assert mixing(dense, batches) < 0.25
    assert mixing(result.features, batches) > 0.33
    elbo = result.facts["elbo_validation"]
    assert len(elbo) == result.facts["n_epochs"] == 30
    assert elbo[-1] < elbo[0]


def test_training_stops_when_the_validation_elbo_no_longer_improves() -> None:
    counts, batches = batch_counts(n_genes=20)
    elbo = fit(counts, batches, max_epochs=400, patience=3).facts["elbo_validation"]
    assert len(elbo) < 400
    assert int(np.argmin(elbo)) == len(elbo) - 4


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_network_rebuilt_from_arrays_and_facts_gives_the_same_latent(n_layers: int) -> None:
    counts, batches = batch_counts()
    genes = [f"g{number}" for number in range(counts.shape[1])]
    result = METHODS["scvi"].counts(  # type: ignore[misc]
        counts, batches, settings_of(n_layers=n_layers), N_LATENT, 0, genes=genes, device="cpu"
    )
    assert all(isinstance(array, np.ndarray) for array in result.arrays.values())
    facts = json.loads(json.dumps(result.facts))
    network = rebuild_scvi(result.arrays, facts)
    np.testing.assert_array_equal(latent_means(network, counts), result.features)
    assert facts["genes"] == genes
    assert facts["batches"] == ["one", "two"]


def test_latent_is_that_of_scvi_tools_with_the_same_weights() -> None:
    import anndata
    import pandas as pd
    import scvi

    counts, batches = batch_counts()
    result = fit(counts, batches)
    spots = [f"spot{number}" for number in range(300)]
    adata = anndata.AnnData(counts.astype(np.float32), obs=pd.DataFrame({"batch": batches}, index=spots))
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = scvi.model.SCVI(adata, n_hidden=32, n_latent=N_LATENT, n_layers=1)
    model.module.load_state_dict({name: torch.from_numpy(array) for name, array in result.arrays.items()})
    model.module.eval()
    model.is_trained = True
    np.testing.assert_allclose(model.get_latent_representation(), result.features, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    counts, batches = batch_counts()
    first, second, other = (fit(counts, batches, seed).features for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_global_generators_environment_and_folder_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import scvi

    counts, batches = batch_counts()
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    scvi_seed = scvi.settings.seed
    environment = dict(os.environ)
    cudnn = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)

    def draws() -> tuple[float, float, float]:
        return random.random(), np.random.random(), float(torch.rand(1))

    def seeded() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seeded()
    expected = draws()
    seeded()
    result = fit(counts, batches)
    assert draws() == expected
    seeded()
    rebuild_scvi(result.arrays, result.facts)
    assert draws() == expected
    assert scvi.settings.seed == scvi_seed
    assert dict(os.environ) == environment
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == cudnn
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_progress_counts_the_epochs() -> None:
    counts, batches = batch_counts()
    told: list[tuple[str, int, int]] = []
    fit_scvi(
        counts,
        batches,
        settings_of(),
        N_LATENT,
        0,
        progress=lambda what, done, total: told.append((what, done, total)),
        device="cpu",
    )
    assert told == [("scVI epochs", epoch, 3) for epoch in (1, 2, 3)]


def test_one_batch_is_learnt_without_correction() -> None:
    counts, _ = batch_counts()
    result = fit(counts, np.full(300, "only"))
    assert result.facts["corrected"] is False
    assert "one batch" in result.facts["reason"]
    assert np.isfinite(result.features).all()


def test_spots_without_counts_get_a_finite_latent_and_stay_out_of_training() -> None:
    counts, batches = batch_counts()
    dense = counts.toarray()
    dense[[0, 10]] = 0
    result = fit(csr_matrix(dense), batches)
    assert np.isfinite(result.features).all()
    assert result.facts["n_spots_trained"] == 298


def test_a_mini_batch_of_one_spot_does_not_stop_training() -> None:
    counts, batches = batch_counts()
    # 72 spots: 65 of 90 % train in batches of 64, which leaves one.
    result = fit(counts[114:186], batches[114:186])
    assert result.facts["n_epochs"] == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [(0.5, "no counts"), (-1.0, "no counts"), (np.nan, "no counts"), (0.0, "all zero")],
)
def test_values_that_are_no_counts_are_refused(values: float, said: str) -> None:
    counts = csr_matrix(np.full((10, 5), values))
    with pytest.raises(CorrectionError, match=said):
        fit(counts, np.repeat(["a", "b"], 5))


def test_fewer_spots_than_dimensions_are_refused() -> None:
    counts, batches = batch_counts()
    with pytest.raises(CorrectionError, match="has 4 spots and 60 genes for 4 latent dimensions"):
        fit(counts[:4], batches[:4])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_a_gpu_that_is_not_there_is_refused() -> None:
    counts, batches = batch_counts()
    with pytest.raises(SettingsError, match="PyTorch sees no GPU"):
        fit_scvi(counts, batches, settings_of(), N_LATENT, 0, device="cuda")


def test_weights_of_another_network_are_refused() -> None:
    counts, batches = batch_counts()
    result = fit(counts, batches)
    facts = {**result.facts, "network": {**result.facts["network"], "n_hidden": 16}}
    with pytest.raises(CorrectionError, match="stored weights do not fit"):
        rebuild_scvi(result.arrays, facts)


# The memory of a GPU


def hold_at_most(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let scVI's network run out of memory above so many spots; returns the sizes that it was given."""
    from scvi.module import VAE

    sizes: list[int] = []
    whole = VAE._regular_inference

    def limited(self, x, *arguments, **words):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return whole(self, x, *arguments, **words)

    monkeypatch.setattr(VAE, "_regular_inference", limited)
    return sizes


def test_training_begins_anew_with_half_the_batch_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, batches = batch_counts()
    small = fit(counts, batches, batch_size=16)
    sizes = hold_at_most(monkeypatch, 20)
    halved = fit(counts, batches, batch_size=64)
    assert halved.facts["batch_size_reduced_to"] == 16
    assert "batch_size_reduced_to" not in small.facts
    assert {64, 32, 16} <= set(sizes)
    # The same training as if half the batch had been asked for from the beginning.
    np.testing.assert_allclose(halved.features, small.features, rtol=1e-4, atol=1e-5)


def test_memory_that_holds_no_batch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, batches = batch_counts()
    hold_at_most(monkeypatch, 0)
    with pytest.raises(
        CorrectionError, match=r"correction\.scvi\.device: GPU memory does not hold scVI and a batch of 16"
    ):
        fit(counts, batches, batch_size=64)

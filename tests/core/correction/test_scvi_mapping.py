from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from stalign_core.correction import CorrectionResult
from stalign_core.correction.random_state import torch_state_kept
from stalign_core.correction.scvi import fit_scvi
from stalign_core.correction.scvi_mapping import map_scvi, mean_log_counts
from stalign_core.correction.scvi_network import latent_means, rebuild_scvi
from stalign_core.errors import CorrectionError, InputDataError
from stalign_core.settings import CorrectionSettings, ScviSettings

from .cohorts import batch_counts

N_GENES = 60
ALL = np.arange(N_GENES)
SETTINGS = CorrectionSettings(
    scvi=ScviSettings(max_epochs=3, early_stopping_patience=10, n_hidden=32, batch_size=64),
)


@pytest.fixture(scope="module")
def fitted() -> CorrectionResult:
    counts, batches = batch_counts()
    return fit_scvi(counts, batches, SETTINGS, 4, 0, device="cpu")


def fitted_means() -> np.ndarray:
    return np.asarray(batch_counts()[0].log1p().mean(axis=0)).ravel()


def as_anndata(counts: csr_matrix, batches: np.ndarray) -> anndata.AnnData:
    names = [f"spot{number}" for number in range(counts.shape[0])]
    return anndata.AnnData(counts.astype(np.float32), obs=pd.DataFrame({"batch": batches}, index=names))


def test_new_spots_get_the_latent_of_scvi_tools_trained_query_model(fitted: CorrectionResult) -> None:
    import scvi

    counts, batches = batch_counts()
    new, _ = batch_counts(seed=9)
    with torch_state_kept():
        adata = as_anndata(counts, batches)
        scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
        model = scvi.model.SCVI(adata, n_hidden=32, n_latent=4, n_layers=1)
        model.module.load_state_dict({name: torch.from_numpy(array) for name, array in fitted.arrays.items()})
        model.is_trained = True
        query = scvi.model.SCVI.load_query_data(as_anndata(new, np.full(300, "three")), model)
        before = {name: value.clone() for name, value in query.module.state_dict().items()}
        query.train(max_epochs=4, accelerator="cpu", plan_kwargs={"weight_decay": 0.0}, enable_progress_bar=False)
        learnt = [name for name, value in query.module.state_dict().items() if not torch.equal(value, before[name])]
        expected = query.get_latent_representation()
    assert learnt, "the query model was trained"
    np.testing.assert_allclose(map_scvi(new, ALL, fitted_means(), fitted.terms), expected, atol=1e-5)


def test_a_missing_gene_enters_the_encoder_at_its_fitted_mean(fitted: CorrectionResult) -> None:
    new, _ = batch_counts(seed=9)
    means = fitted_means()
    kept = np.random.default_rng(0).permutation(np.setdiff1d(ALL, [3, 50]))
    columns = np.full(N_GENES, -1)
    columns[kept] = np.arange(len(kept))
    mapped = map_scvi(new[:, kept], columns, means, fitted.terms)
    complete = new.toarray().astype(np.float64)
    complete[:, [3, 50]] = np.exp(means[[3, 50]]) - 1
    expected = latent_means(rebuild_scvi(fitted.arrays, fitted.facts), csr_matrix(complete))
    np.testing.assert_allclose(mapped, expected, atol=1e-6)
    complete[:, [3, 50]] = 0
    at_zero = latent_means(rebuild_scvi(fitted.arrays, fitted.facts), csr_matrix(complete))
    assert np.abs(mapped - at_zero).max() > 1e-3


def test_a_spot_does_not_depend_on_the_others(fitted: CorrectionResult) -> None:
    new, _ = batch_counts(seed=9)
    together = map_scvi(new, ALL, fitted_means(), fitted.terms)
    alone = map_scvi(new[[17]], ALL, fitted_means(), fitted.terms)
    np.testing.assert_allclose(alone[0], together[17], atol=1e-6)


def test_panels_that_do_not_fit_are_refused(fitted: CorrectionResult) -> None:
    new, _ = batch_counts(seed=9)
    with pytest.raises(CorrectionError, match="got none of the panel's genes"):
        map_scvi(new, np.full(N_GENES, -1), fitted_means(), fitted.terms)
    with pytest.raises(CorrectionError, match="got 59 panel genes; expected the network's 60"):
        map_scvi(new, ALL[1:], fitted_means()[1:], fitted.terms)


PANEL = np.array(["g7", "g2", "g59"], dtype=object)


def halves() -> list[tuple[csr_matrix, np.ndarray]]:
    """The fitted spots as two sections, with their genes."""
    counts, _ = batch_counts()
    genes = np.array([f"g{number}" for number in range(N_GENES)], dtype=object)
    return [(counts[:40], genes), (counts[40:], genes)]


def test_mean_log_counts_are_those_of_the_stacked_spots_in_the_panels_order() -> None:
    np.testing.assert_allclose(mean_log_counts(halves(), PANEL), fitted_means()[[7, 2, 59]], rtol=1e-12)


def test_mean_log_counts_look_at_no_gene_outside_the_panel() -> None:
    expected = mean_log_counts(halves(), PANEL)
    sections = halves()
    for counts, genes in sections:
        counts.data[~np.isin(genes[counts.indices], PANEL)] = -1
    assert mean_log_counts(sections, PANEL).tolist() == expected.tolist()


def test_mean_log_counts_name_a_panel_gene_that_a_section_lacks() -> None:
    (counts, genes), other = halves()
    with pytest.raises(InputDataError, match="lack 1 of the genes asked for, first g2"):
        mean_log_counts([other, (counts[:, genes != "g2"], genes[genes != "g2"])], PANEL)

"""What the estimator promises of the reference preset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik import Aestetik, AestetikSettings
from stalign_core.errors import ModelError
from stalign_core.settings import parse_settings
from tests.core.aestetik.inputs import QUICK, model_arguments, striped_cohort

QUICK_REFERENCE = AestetikSettings.reference(epochs=3, batch_size=100, n_hidden=8, n_latent=4, device="cpu")


@pytest.fixture(autouse=True)
def _few_starts(monkeypatch):
    """The hundred starts of K-Means are for data without clear groups; here three find the same."""
    monkeypatch.setattr("stalign_core.aestetik.reference.labels.STARTS", 3)


def _arguments(**changes):
    cohort = striped_cohort() | changes
    return model_arguments(cohort) | {"hexagonal": np.asarray(cohort["sample"]) == 1}


def _fitted(settings=QUICK_REFERENCE, seed=0, **changes):
    arguments = _arguments(**changes)
    return Aestetik(settings, seed).fit(**arguments, n_domains=3), arguments


def test_embeddings_find_the_stripes():
    model, arguments = _fitted(replace(QUICK_REFERENCE, epochs=25, n_hidden=16, n_latent=16, learning_rate=5e-3))
    embedding = model.embed(**arguments)
    assert embedding.shape == (288, 16)
    assert embedding.dtype == np.float32
    found = KMeans(3, n_init=5, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(striped_cohort()["stripe"], found) > 0.7


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    (first, arguments), (second, _), (third, _) = _fitted(), _fitted(), _fitted(seed=1)
    assert first.embed(**arguments).tobytes() == second.embed(**arguments).tobytes()
    assert not np.allclose(first.embed(**arguments), third.embed(**arguments))


def test_global_random_states_are_neither_read_nor_changed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, arguments = _fitted()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    second, _ = _fitted()
    assert first.embed(**arguments).tobytes() == second.embed(**arguments).tobytes()


def test_an_embedding_is_the_same_whatever_is_embedded_with_it():
    model, arguments = _fitted()
    together = model.embed(**arguments)
    assert model.embed(**arguments).tobytes() == together.tobytes()
    for code in (0, 1):
        own = arguments["sample"] == code
        alone = model.embed(**{name: value[own] for name, value in arguments.items()})
        assert np.allclose(together[own], alone, atol=1e-5)


def test_new_samples_are_scaled_as_the_fitted_ones_were():
    model, arguments = _fitted()
    shifted = arguments | {"expression": arguments["expression"] + 5}
    assert np.abs(model.embed(**shifted) - model.embed(**arguments)).mean() > 0.01


def test_saving_and_loading_gives_the_same_embeddings(tmp_path):
    model, arguments = _fitted()
    model.save(tmp_path)
    loaded = Aestetik.load(tmp_path)
    assert loaded.settings == model.settings
    assert loaded.embed(**arguments).tobytes() == model.embed(**arguments).tobytes()


def test_a_killed_fit_continues_and_ends_as_if_never_stopped(tmp_path):
    class KilledError(Exception):
        pass

    def kill_after_two(what, done, total):
        if done == 2:
            raise KilledError

    arguments = _arguments()
    with pytest.raises(KilledError):
        Aestetik(QUICK_REFERENCE).fit(**arguments, n_domains=3, progress=kill_after_two, checkpoint_folder=tmp_path)
    epochs = []
    resumed = Aestetik(QUICK_REFERENCE).fit(
        **arguments, n_domains=3, progress=lambda what, done, total: epochs.append(done), checkpoint_folder=tmp_path
    )
    whole = Aestetik(QUICK_REFERENCE).fit(**arguments, n_domains=3)
    assert epochs == [3]
    assert resumed.history == whole.history
    assert resumed.embed(**arguments).tobytes() == whole.embed(**arguments).tobytes()


def test_a_checkpoint_of_other_lattices_is_not_continued(tmp_path):
    arguments = _arguments()
    Aestetik(QUICK_REFERENCE).fit(**arguments, n_domains=3, checkpoint_folder=tmp_path)
    epochs = []
    Aestetik(QUICK_REFERENCE).fit(
        **arguments | {"hexagonal": ~arguments["hexagonal"]},
        n_domains=3,
        progress=lambda what, done, total: epochs.append(done),
        checkpoint_folder=tmp_path,
    )
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
def test_every_window_trains(window):
    model, arguments = _fitted(replace(QUICK_REFERENCE, window=window, epochs=1))
    assert np.isfinite(model.embed(**arguments)).all()


@pytest.mark.parametrize("reconstruction", ["l1", "mse"])
@pytest.mark.parametrize("weight", [0, 3])
def test_the_ends_of_the_morphology_weight_silence_the_other_modality(weight, reconstruction):
    model, _ = _fitted(replace(QUICK_REFERENCE, morphology_weight=weight, reconstruction=reconstruction))
    silenced = "morphology" if weight == 0 else "expression"
    for name, value in model.history[-1].items():
        assert (value == 0) == name.startswith(silenced)


def test_groups_may_come_from_the_mixture():
    model, arguments = _fitted(replace(QUICK_REFERENCE, triplet_labels="tied", epochs=1))
    assert np.isfinite(model.embed(**arguments)).all()


def test_a_cohort_without_morphology_trains_on_expression_alone():
    model, arguments = _fitted(has_morphology=np.zeros(288, dtype=bool), morphology=np.full((288, 4), np.nan))
    assert model.history[-1]["morphology_reconstruction"] == 0
    assert model.history[-1]["morphology_triplet"] == 0
    assert np.isfinite(model.embed(**arguments)).all()


def test_the_lattice_must_be_told_to_fit_and_to_embed():
    model, arguments = _fitted()
    del arguments["hexagonal"]
    with pytest.raises(ModelError, match="hexagonal: is not given"):
        model.embed(**arguments)
    with pytest.raises(ModelError, match="hexagonal: is not given"):
        Aestetik(QUICK_REFERENCE).fit(**arguments, n_domains=3)


def test_a_lattice_that_says_too_little_is_refused():
    with pytest.raises(ModelError, match="hexagonal: has shape"):
        Aestetik(QUICK).fit(**_arguments() | {"hexagonal": [True]}, n_domains=3)


@pytest.mark.parametrize("settings", [QUICK, QUICK_REFERENCE])
def test_one_comparison_per_anchor_trains_another_model(settings):
    many, arguments = _fitted(replace(settings, epochs=1))
    one, _ = _fitted(replace(settings, epochs=1, multi_triplet=False))
    assert one.history[-1]["expression_triplet"] > 0
    assert not np.allclose(one.embed(**arguments), many.embed(**arguments))


@pytest.mark.parametrize("settings", [QUICK, QUICK_REFERENCE])
def test_one_comparison_per_anchor_draws_no_others(settings, monkeypatch):
    monkeypatch.setattr("stalign_core.aestetik.training.draw_triplets", None)
    _fitted(replace(settings, epochs=1, multi_triplet=False))
    with pytest.raises(TypeError):
        _fitted(replace(settings, epochs=1))


def test_the_preset_brings_the_published_numbers():
    settings = parse_settings({"aestetik": {"preset": "reference", "window": 7}}).aestetik
    assert settings == AestetikSettings.reference(window=7)
    published = ("reference", 7, 100, 8192, 1e-3, "l1", "kmeans", 64, 16, True)
    names = ("preset", "window", "epochs", "batch_size", "learning_rate", "reconstruction", "triplet_labels")
    assert tuple(getattr(settings, name) for name in (*names, "n_hidden", "n_latent", "multi_triplet")) == published


def test_a_written_number_is_stronger_than_the_preset():
    assert parse_settings({"aestetik": {"preset": "reference", "epochs": 7}}).aestetik.epochs == 7


def test_a_variant_that_names_a_preset_starts_from_it():
    settings = parse_settings(
        {
            "aestetik": {"epochs": 7, "window": 3},
            "variants": {"plain": {}, "published": {"aestetik": {"preset": "reference", "window": 9}}},
        }
    )
    assert settings.aestetik_of("plain") == AestetikSettings(epochs=7, window=3)
    assert settings.aestetik_of("published") == AestetikSettings.reference(window=9)


def test_a_model_follows_from_settings_that_change_it():
    first = (
        "window", "morphology_weight", "n_latent", "n_hidden", "epochs", "batch_size", "learning_rate",
        "reconstruction", "triplet_labels", "precision",
    )  # fmt: skip
    default = AestetikSettings(device="cpu").identity()
    assert default.keys() == set(first)
    assert AestetikSettings(multi_triplet=False).identity() == default | {"multi_triplet": False}
    assert AestetikSettings.reference().identity()["preset"] == "reference"

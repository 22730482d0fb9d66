"""What the estimator promises."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik import Aestetik
from stalign_core.errors import ModelError
from tests.core.aestetik.inputs import QUICK, model_arguments, striped_cohort


def _fitted(settings=QUICK, seed=0, **changes):
    arguments = model_arguments(striped_cohort()) | changes
    return Aestetik(settings, seed).fit(**arguments, n_domains=3), arguments


def test_embeddings_find_the_stripes():
    cohort = striped_cohort()
    model = Aestetik(replace(QUICK, epochs=30), 0).fit(**model_arguments(cohort), n_domains=3)
    embedding = model.embed(**model_arguments(cohort))
    assert embedding.shape == (288, QUICK.n_latent)
    assert embedding.dtype == np.float32
    found = KMeans(3, n_init=5, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(cohort["stripe"], found) > 0.75


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    (first, arguments), (second, _), (third, _) = _fitted(), _fitted(), _fitted(seed=1)
    assert first.embed(**arguments).tobytes() == second.embed(**arguments).tobytes()
    assert not np.allclose(first.embed(**arguments), third.embed(**arguments))


def test_global_random_states_are_neither_read_nor_changed():
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, arguments = _fitted()
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])
    torch.manual_seed(6)
    second, _ = _fitted()
    assert first.embed(**arguments).tobytes() == second.embed(**arguments).tobytes()


def test_the_number_of_threads_changes_nothing_and_is_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, arguments = _fitted()
        torch.set_num_threads(2)
        two, _ = _fitted()
        assert torch.get_num_threads() == 2
        assert one.embed(**arguments).tobytes() == two.embed(**arguments).tobytes()
    finally:
        torch.set_num_threads(before)


def test_an_embedding_does_not_depend_on_the_samples_embedded_with_it():
    model, arguments = _fitted()
    together = model.embed(**arguments)
    first = arguments["sample"] == 0
    alone = model.embed(**{name: value[first] for name, value in arguments.items()})
    assert np.allclose(together[first], alone, atol=1e-5)


def test_new_samples_are_scaled_as_the_fitted_ones_were():
    model, arguments = _fitted()
    shifted = arguments | {"expression": arguments["expression"] + 5}
    assert np.abs(model.embed(**shifted) - model.embed(**arguments)).mean() > 0.1


def test_an_order_of_spots_does_not_matter_to_their_embeddings():
    model, arguments = _fitted()
    order = np.random.default_rng(0).permutation(288)
    shuffled = model.embed(**{name: value[order] for name, value in arguments.items()})
    assert np.allclose(shuffled, model.embed(**arguments)[order], atol=1e-5)


def test_saving_and_loading_gives_the_same_embeddings(tmp_path):
    model, arguments = _fitted()
    model.save(tmp_path / "model")
    loaded = Aestetik.load(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    assert loaded.settings == model.settings
    assert loaded.history == model.history
    assert loaded.embed(**arguments).tobytes() == model.embed(**arguments).tobytes()


def test_a_damaged_model_is_refused_in_one_line(tmp_path):
    model, _ = _fitted()
    model.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="holds no readable model"):
        Aestetik.load(tmp_path)


def test_a_killed_fit_continues_and_ends_as_if_never_stopped(tmp_path):
    class KilledError(Exception):
        pass

    def kill_after_two(what, done, total):
        if done == 2:
            raise KilledError

    arguments = model_arguments(striped_cohort())
    with pytest.raises(KilledError):
        Aestetik(QUICK).fit(**arguments, n_domains=3, progress=kill_after_two, checkpoint_folder=tmp_path)
    epochs = []
    resumed = Aestetik(QUICK).fit(
        **arguments, n_domains=3, progress=lambda what, done, total: epochs.append(done), checkpoint_folder=tmp_path
    )
    whole = Aestetik(QUICK).fit(**arguments, n_domains=3)
    assert epochs == [3, 4]
    assert resumed.history == whole.history
    assert resumed.embed(**arguments).tobytes() == whole.embed(**arguments).tobytes()


def test_a_checkpoint_of_other_data_or_a_damaged_one_is_not_continued(tmp_path):
    arguments = model_arguments(striped_cohort())
    Aestetik(QUICK).fit(**arguments, n_domains=3, checkpoint_folder=tmp_path)
    other = model_arguments(striped_cohort(seed=1))
    epochs = []

    def count(what, done, total):
        epochs.append(done)

    Aestetik(QUICK).fit(**other, n_domains=3, progress=count, checkpoint_folder=tmp_path)
    assert epochs == [1, 2, 3, 4]
    (tmp_path / "training.safetensors").write_bytes(b"damaged")
    Aestetik(QUICK).fit(**other, n_domains=3, progress=count, checkpoint_folder=tmp_path)
    assert epochs == [1, 2, 3, 4, 1, 2, 3, 4]


def test_progress_names_the_loss_terms():
    seen = []
    Aestetik(QUICK).fit(
        **model_arguments(striped_cohort()),
        n_domains=3,
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    assert [(done, total) for _, done, total in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "morphology_triplet" in seen[0][0]


@pytest.mark.parametrize("reconstruction", ["l1", "mse"])
@pytest.mark.parametrize("weight", [0, 3])
def test_the_ends_of_the_morphology_weight_silence_the_other_modality(weight, reconstruction):
    model, _ = _fitted(replace(QUICK, morphology_weight=weight, reconstruction=reconstruction))
    silenced = "morphology" if weight == 0 else "expression"
    for name, value in model.history[-1].items():
        assert (value == 0) == name.startswith(silenced)


@pytest.mark.parametrize("window", [1, 3, 7, 9])
def test_every_window_trains(window):
    model, arguments = _fitted(replace(QUICK, window=window, epochs=1))
    assert np.isfinite(model.embed(**arguments)).all()


def test_a_cohort_without_morphology_trains_on_expression_alone():
    model, arguments = _fitted(has_morphology=np.zeros(288, dtype=bool), morphology=np.full((288, 4), np.nan))
    assert model.history[-1]["morphology_reconstruction"] == 0
    assert model.history[-1]["morphology_triplet"] == 0
    assert np.isfinite(model.embed(**arguments)).all()


def test_missing_morphology_does_not_decide_domains():
    cohort = striped_cohort(n_samples=4)
    cohort["has_morphology"] = cohort["sample"] < 2
    arguments = model_arguments(cohort)
    embedding = Aestetik(replace(QUICK, epochs=30)).fit(**arguments, n_domains=3).embed(**arguments)
    found = KMeans(3, n_init=5, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(cohort["has_morphology"], found) < 0.02
    assert adjusted_rand_score(cohort["stripe"], found) > 0.75


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lattice": np.zeros((3, 2), np.int32)}, "lattice: has shape"),
        ({"expression": np.full((288, 4), np.nan)}, "expression: holds numbers that are not finite"),
        ({"morphology": np.full((288, 4), np.inf)}, "morphology: holds numbers that are not finite"),
    ],
)
def test_input_that_cannot_be_used_is_refused_in_one_line(change, words):
    with pytest.raises(ModelError, match=words):
        _fitted(**change)


def test_more_domains_than_spots_are_refused():
    with pytest.raises(ModelError, match="n_domains: is 999"):
        Aestetik(QUICK).fit(**model_arguments(striped_cohort()), n_domains=999)


def test_an_unfitted_model_neither_embeds_nor_saves(tmp_path):
    with pytest.raises(ModelError, match="is not fitted"):
        Aestetik().embed(**model_arguments(striped_cohort()))
    with pytest.raises(ModelError, match="is not fitted"):
        Aestetik().save(tmp_path)


def test_embedding_other_features_than_fitted_is_refused():
    model, arguments = _fitted()
    with pytest.raises(ModelError, match="as when fitted"):
        model.embed(**arguments | {"expression": arguments["expression"][:, :3]})


def test_the_model_needs_only_torch_numpy_and_lightning():
    code = (
        "import sys\n"
        "for name in ('sklearn', 'pandas', 'scanpy', 'anndata', 'pydantic'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "from stalign_core.aestetik import Aestetik, AestetikSettings\n"
        "x = np.random.default_rng(0).normal(size=(16, 3))\n"
        "cells = np.column_stack(np.divmod(np.arange(16), 4))\n"
        "Aestetik(AestetikSettings(epochs=1)).fit(x, x, cells, np.zeros(16, int), n_domains=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""What holds for every method that corrects an embedding."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pydantic import ValidationError

from stalign_core.correction import METHODS, correct_embedding, correct_where_present
from stalign_core.errors import CorrectionError
from stalign_core.settings import CorrectionSettings, VariantSettings

from .cohorts import mixing, shifted_batches, type_purity

SETTINGS = CorrectionSettings()
CORRECTING = ["harmony", "scanorama"]


def test_the_registry_holds_the_methods_that_settings_offer() -> None:
    assert [VariantSettings(correction=name).correction for name in METHODS] == list(METHODS)
    with pytest.raises(ValidationError, match="one of " + ", ".join(METHODS)):
        VariantSettings(correction="combat")
    assert {name: record.needs for name, record in METHODS.items()} == {
        "uncorrected": "embedding",
        "harmony": "embedding",
        "scanorama": "embedding",
        "scvi": "counts",
    }
    assert {record.morphology for name, record in METHODS.items() if name != "uncorrected"} == {"harmony"}
    assert METHODS["uncorrected"].morphology == "uncorrected"


def test_uncorrected_is_the_identity() -> None:
    features, batches, _ = shifted_batches()
    result = correct_embedding("uncorrected", features, batches, SETTINGS, 0)
    np.testing.assert_array_equal(result.features, features)
    assert result.facts["corrected"] is False


@pytest.mark.parametrize("method", CORRECTING)
def test_batches_mix_and_types_stay_apart(method: str) -> None:
    features, batches, types = shifted_batches()
    result = correct_embedding(method, features, batches, SETTINGS, 0)
    assert result.features.dtype == np.float32
    assert mixing(features, batches) < 0.1
    assert mixing(result.features, batches) > 0.3
    assert type_purity(result.features, types) > 0.95
    assert result.facts["corrected"] is True


@pytest.mark.parametrize("method", ["uncorrected", *CORRECTING])
def test_one_batch_comes_back_as_it_was_with_the_reason(method: str) -> None:
    features, _, _ = shifted_batches()
    result = correct_embedding(method, features, np.full(len(features), "only"), SETTINGS, 0)
    np.testing.assert_array_equal(result.features, features)
    assert result.facts["corrected"] is False
    assert result.facts["reason"]


@pytest.mark.parametrize("method", CORRECTING)
def test_the_same_seed_gives_the_same_bytes_and_leaves_global_generators_alone(method: str) -> None:
    features, batches, _ = shifted_batches()
    random.seed(3)
    np.random.seed(3)
    expected = (random.random(), np.random.random())
    random.seed(3)
    np.random.seed(3)
    results = [correct_embedding(method, features, batches, SETTINGS, 7).features for _ in range(2)]
    assert (random.random(), np.random.random()) == expected
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("method", CORRECTING)
def test_the_input_is_not_written_to(method: str) -> None:
    features, batches, _ = shifted_batches()
    before = features.copy()
    correct_embedding(method, features, batches, SETTINGS, 0)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("method", CORRECTING)
def test_nothing_is_printed(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    features, batches, _ = shifted_batches()
    correct_embedding(method, features, batches, SETTINGS, 0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", CORRECTING)
def test_a_batch_of_two_spots_is_no_obstacle(method: str) -> None:
    features, batches, _ = shifted_batches()
    batches = batches.astype(object)
    batches[:2] = "tiny"
    result = correct_embedding(method, features, batches.astype(str), SETTINGS, 0)
    assert np.isfinite(result.features).all()


@pytest.mark.parametrize("method", CORRECTING)
def test_features_that_are_not_finite_are_refused_with_their_first_row(method: str) -> None:
    features, batches, _ = shifted_batches()
    features[[5, 9], 0] = np.nan
    with pytest.raises(CorrectionError, match=rf"{method}: .* not finite in 2 spots, first row 5"):
        correct_embedding(method, features, batches, SETTINGS, 0)


@pytest.mark.parametrize("method", CORRECTING)
def test_fewer_spots_than_components_are_refused(method: str) -> None:
    features, batches, _ = shifted_batches()
    with pytest.raises(CorrectionError, match="has 10 spots for 10 components"):
        correct_embedding(method, features[:10], batches[:10], SETTINGS, 0)


@pytest.mark.parametrize("method", CORRECTING)
def test_batches_that_do_not_match_the_spots_are_refused(method: str) -> None:
    features, batches, _ = shifted_batches()
    with pytest.raises(CorrectionError, match="one per spot"):
        correct_embedding(method, features, batches[1:], SETTINGS, 0)


@pytest.mark.parametrize("method", ["scvi", "combat"])
def test_methods_that_correct_no_embedding_are_refused(method: str) -> None:
    features, batches, _ = shifted_batches()
    with pytest.raises(CorrectionError, match="expected one of uncorrected, harmony, scanorama"):
        correct_embedding(method, features, batches, SETTINGS, 0)


def test_missing_spots_are_zero_and_do_not_change_the_others() -> None:
    features, batches, _ = shifted_batches()
    present = np.arange(len(features)) % 4 > 0
    features[~present] = np.nan
    result = correct_where_present("harmony", features, present, batches, SETTINGS, 0)
    alone = correct_embedding("harmony", features[present], batches[present], SETTINGS, 0)
    assert (result.features[~present] == 0).all()
    np.testing.assert_array_equal(result.features[present], alone.features)


def test_a_scope_where_every_spot_is_missing_is_zero() -> None:
    features, batches, _ = shifted_batches()
    result = correct_where_present("harmony", features, np.zeros(len(features), bool), batches, SETTINGS, 0)
    assert not result.features.any()
    assert result.facts["corrected"] is False

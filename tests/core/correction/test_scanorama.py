from __future__ import annotations

import numpy as np
import pytest

from stalign_core.correction import scanorama as method
from stalign_core.correction.scanorama import correct
from stalign_core.errors import CorrectionError
from stalign_core.settings import CorrectionSettings, ScanoramaSettings

from .cohorts import shifted_batches

SETTINGS = CorrectionSettings()


def plain_scanorama(features: np.ndarray, batches: np.ndarray, sigma: float = 15, knn: int = 20) -> np.ndarray:
    import scanorama

    names = np.unique(batches)
    length = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1).mean())
    parts = [features[batches == name].astype(np.float64) / length for name in names]
    # With blocks, as scanpy calls it: without, the package leaves spots far from every match where they are.
    assembled = scanorama.assemble(parts, knn=knn, sigma=sigma, approx=False, alpha=0.1, batch_size=5000, verbose=0)
    corrected = np.empty(features.shape)
    for name, part in zip(names, assembled, strict=True):
        corrected[batches == name] = part * length
    return corrected


def test_the_unit_of_the_features_does_not_matter() -> None:
    features, batches, _ = shifted_batches()
    result = correct(features, batches, SETTINGS, 0).features
    scaled = correct(features * 20, batches, SETTINGS, 0).features
    np.testing.assert_allclose(scaled / 20, result, atol=1e-3)


@pytest.mark.parametrize(("sigma", "knn"), [(15.0, 20), (5.0, 10)])
def test_result_is_that_of_scanorama_called_plainly(sigma: float, knn: int) -> None:
    features, batches, _ = shifted_batches()
    settings = CorrectionSettings(scanorama=ScanoramaSettings(sigma=sigma, n_neighbors=knn))
    result = correct(features, batches, settings, 0)
    np.testing.assert_allclose(result.features, plain_scanorama(features, batches, sigma, knn), atol=1e-4)


def test_small_blocks_of_the_kernel_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, batches, _ = shifted_batches()
    whole = correct(features, batches, SETTINGS, 0).features
    monkeypatch.setattr(method, "KERNEL_ENTRIES", 17 * len(features))
    np.testing.assert_allclose(correct(features, batches, SETTINGS, 0).features, whole, atol=1e-4)


def test_the_order_of_spots_does_not_matter() -> None:
    features, batches, _ = shifted_batches()
    by_batch = np.argsort(batches, kind="stable")
    result = correct(features[by_batch], batches[by_batch], SETTINGS, 0)
    np.testing.assert_allclose(result.features, correct(features, batches, SETTINGS, 0).features[by_batch], atol=1e-4)


def test_panoramas_of_four_batches_are_merged_as_scanorama_does() -> None:
    features, batches, _ = shifted_batches(n_per_batch=160)
    four = np.array([f"{batch}{number % 2}" for number, batch in enumerate(batches)])
    result = correct(features, four, SETTINGS, 0)
    np.testing.assert_allclose(result.features, plain_scanorama(features, four), atol=1e-4)
    assert result.facts["unaligned"] == []


def test_a_batch_without_mutual_neighbours_stays_and_is_named() -> None:
    features, batches, _ = shifted_batches()
    # Scanorama compares directions; the last batch points into one of its own.
    batches = np.where(np.arange(len(batches)) < 100, "zz", batches)
    features[:100] = -40 * features.mean(axis=0) + np.random.default_rng(1).normal(size=(100, 10))
    result = correct(features, batches, SETTINGS, 0)
    assert result.facts["unaligned"] == ["zz"]
    np.testing.assert_array_equal(result.features[:100], features[:100])


def test_batches_that_all_stand_apart_come_back_with_the_reason() -> None:
    # The two batches vary in components of their own, so one spot of each is nearest to all of the other batch.
    rng = np.random.default_rng(2)
    features = np.zeros((200, 10))
    features[:100, 0] = features[100:, 1] = 1
    features[:100, 2:6] = rng.uniform(0.01, 0.1, (100, 4))
    features[100:, 6:] = rng.uniform(0.01, 0.1, (100, 4))
    batches = np.repeat(["left", "right"], 100)
    result = correct(features, batches, CorrectionSettings(scanorama=ScanoramaSettings(n_neighbors=1)), 0)
    assert result.facts["corrected"] is False
    assert "mutual" in result.facts["reason"]
    np.testing.assert_array_equal(result.features, features.astype(np.float32))


def test_more_spots_than_the_limit_are_refused_in_one_line() -> None:
    features, batches, _ = shifted_batches()
    at_limit = CorrectionSettings(scanorama=ScanoramaSettings(max_spots=len(features)))
    assert correct(features, batches, at_limit, 0).facts["corrected"]
    below = CorrectionSettings(scanorama=ScanoramaSettings(max_spots=len(features) - 1))
    line = (
        r"scanorama: got 400 spots; expected at most 399 \(correction.scanorama.max_spots\): its time grows with their "
        r"square; take harmony or scvi for a scope of this size, or raise the setting"
    )
    with pytest.raises(CorrectionError, match=line):
        correct(features, batches, below, 0)

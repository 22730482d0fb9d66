from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stalign_core.correction.harmony import apply_terms, correct
from stalign_core.errors import CorrectionError
from stalign_core.settings import CorrectionSettings, HarmonySettings

from .cohorts import shifted_batches


def settings_of(theta: float = 2.0) -> CorrectionSettings:
    return CorrectionSettings(harmony=HarmonySettings(theta=theta))


def plain_harmony(features: NDArray[Any], batches: NDArray[Any], theta: float, seed: int) -> Any:
    """harmonypy as its README calls it."""
    import harmonypy
    import pandas as pd

    sheet = pd.DataFrame({"batch": batches})
    return harmonypy.run_harmony(features, sheet, "batch", theta=theta, random_state=seed, verbose=False)


@pytest.mark.parametrize("theta", [0.0, 2.0, 8.0])
def test_result_is_that_of_harmonypy_called_plainly(theta: float) -> None:
    features, batches, _ = shifted_batches()
    plain = plain_harmony(features, batches, theta, 5)
    result = correct(features, batches, settings_of(theta), 5)
    np.testing.assert_array_equal(result.features, plain.Z_corr.astype(np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_harmonypy_keeps_to_the_threads_that_the_process_may_use(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import harmonypy
    from threadpoolctl import threadpool_limits

    features, batches, _ = shifted_batches()
    free = correct(features, batches, settings_of(), 0)
    run, given = harmonypy.run_harmony, []

    def watched(*arguments: Any, **words: Any) -> Any:
        given.append(words["ncores"])
        return run(*arguments, **words)

    monkeypatch.setattr(harmonypy, "run_harmony", watched)
    with threadpool_limits(limits=threads):
        limited = correct(features, batches, settings_of(), 0)
    assert given == [threads]
    np.testing.assert_array_equal(limited.features, free.features)


@pytest.mark.parametrize("theta", [0.0, 2.0, 8.0])
def test_stored_terms_reconstruct_the_corrected_features(theta: float) -> None:
    features, batches, _ = shifted_batches()
    result = correct(features, batches, settings_of(theta), 0)
    codes = np.array([result.facts["batches"].index(batch) for batch in batches])
    memberships = plain_harmony(features, batches, theta, 0).R
    again = apply_terms(features.astype(np.float64), memberships, codes, result.arrays["coefficients"])
    assert np.abs(result.features - features).max() > 1
    np.testing.assert_allclose(again, result.features, atol=1e-4)


@pytest.mark.parametrize(
    ("n_per_batch", "n_components"), [(200, 10), (300, 20)], ids=["other clusters", "as many clusters as components"]
)
def test_stored_intercepts_point_along_the_centroids(n_per_batch: int, n_components: int) -> None:
    features, batches, _ = shifted_batches(n_per_batch=n_per_batch, n_components=n_components)
    arrays = correct(features, batches, settings_of(), 0).arrays
    assert arrays["centroids"].shape == (2 * n_per_batch // 30, n_components)
    np.testing.assert_allclose(np.linalg.norm(arrays["centroids"], axis=1), 1, atol=1e-6)
    lengths = np.linalg.norm(arrays["intercepts"], axis=1, keepdims=True)
    np.testing.assert_allclose(arrays["intercepts"] / lengths, arrays["centroids"], atol=1e-5)


def test_stored_sizes_and_sums_are_those_of_the_memberships() -> None:
    features, batches, _ = shifted_batches()
    result = correct(features, batches, settings_of(), 0)
    memberships = plain_harmony(features, batches, 2.0, 0).R
    assert memberships.shape == (len(features), round(len(features) / 30))
    sizes = [memberships[batches == batch].sum(axis=0) for batch in ("one", "two")]
    np.testing.assert_allclose(result.arrays["cluster_sizes"], np.transpose(sizes), rtol=1e-9)
    np.testing.assert_allclose(result.arrays["cluster_sums"], memberships.T @ result.features, rtol=1e-4, atol=1e-3)


def test_nothing_with_a_row_per_spot_is_stored_but_the_features() -> None:
    features, batches, _ = shifted_batches()
    result = correct(features, batches, settings_of(), 0)
    assert all(len(features) not in array.shape for array in result.arrays.values())


def test_as_many_spots_as_components_plus_one_keeps_its_orientation() -> None:
    features, batches, _ = shifted_batches(n_components=30)
    result = correct(features[:31], batches[:31], settings_of(), 0)
    assert result.features.shape == (31, 30)
    assert np.corrcoef(result.features.ravel(), features[:31].ravel())[0, 1] > 0.5


class OtherLayout:
    """A fit of harmonypy with one of its matrices the other way round."""

    def __init__(self, fitted: Any, turned: str) -> None:
        self.fitted, self.turned = fitted, turned

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.fitted, name)
        return found.T if name == self.turned else found


@pytest.mark.parametrize(
    ("turned", "told"),
    [
        ("Z_corr", r"corrected features of shape \(20, 600\); expected \(600, 20\)"),
        ("R", r"memberships of shape \(20, 600\); expected \(600, 20\)"),
        ("Y", "centroids that are no unit vectors; expected one per column"),
    ],
)
def test_a_harmonypy_that_lays_its_matrices_out_otherwise_is_refused(
    turned: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harmonypy

    run = harmonypy.run_harmony
    monkeypatch.setattr(harmonypy, "run_harmony", lambda *given, **words: OtherLayout(run(*given, **words), turned))
    features, batches, _ = shifted_batches(n_per_batch=300, n_components=20)
    with pytest.raises(CorrectionError, match=f"harmony: got from harmonypy {told}.*; install harmonypy 2.1.0"):
        correct(features, batches, settings_of(), 0)


def test_too_few_spots_for_the_blocks_are_refused() -> None:
    features, batches, _ = shifted_batches(n_components=4)
    with pytest.raises(CorrectionError, match="harmony: has 19 spots; expected at least 20"):
        correct(features[:19], batches[:19], settings_of(), 0)


def test_three_batches_of_unequal_size_reconstruct_too() -> None:
    features, batches, _ = shifted_batches(n_per_batch=400)
    unequal = np.where(np.arange(len(features)) % 7 == 0, "three", batches)
    result = correct(features, unequal, settings_of(), 0)
    codes = np.array([result.facts["batches"].index(batch) for batch in unequal])
    memberships = plain_harmony(features, unequal, 2.0, 0).R
    again = apply_terms(features.astype(np.float64), memberships, codes, result.arrays["coefficients"])
    np.testing.assert_allclose(again, result.features, atol=1e-4)

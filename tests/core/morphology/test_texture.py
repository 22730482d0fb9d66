"""The statistics against independent implementations, and what the texture features answer to."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

from stalign_core.morphology.encoders import statistics
from stalign_core.morphology.encoders.texture import FEATURE_NAMES, SIDE, prepare, texture_features
from tests.core.morphology.sections import tissue


def features_of(*patches: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    features = texture_features(np.stack([prepare(patch) for patch in patches]))
    assert features.shape == (len(patches), len(FEATURE_NAMES))
    assert features.dtype == np.float32
    return dict(zip(FEATURE_NAMES, features.T, strict=True))


def images(n: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, 32, 32), dtype=np.float32)


def test_moments_and_quantiles_equal_numpys() -> None:
    expected = [
        [
            image.mean(),
            image.std(),
            *(np.quantile(image, quantile, method="lower") for quantile in statistics.QUANTILES),
        ]
        for image in images()
    ]
    np.testing.assert_allclose(statistics.moments_and_quantiles(images()), expected, rtol=1e-5)


def test_the_correlation_of_channels_equals_numpys() -> None:
    first, second = images(2)
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert statistics.correlation(first[None], second[None])[0, 0] == pytest.approx(expected, abs=1e-5)
    assert statistics.correlation(first[None], np.ones((1, 32, 32), np.float32))[0, 0] == 0


def test_haralick_statistics_equal_scikit_images() -> None:
    levels = statistics.quantise(images(), 16)
    # at distance 1 scikit-image's diagonal step of 1 / sqrt(2), rounded, is one pixel along both axes
    ours = statistics.haralick(statistics.co_occurrence(levels, 1))
    for image, row in zip(levels, ours, strict=True):
        counts = graycomatrix(image, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=16, symmetric=True)
        pooled = counts.sum(axis=3, keepdims=True).astype(float)
        expected = {name: graycoprops(pooled, name)[0, 0] for name in statistics.HARALICK[:5]}
        expected["contrast"] /= 15**2
        expected["dissimilarity"] /= 15
        shares = pooled[..., 0, 0] / pooled.sum()
        expected["entropy"] = -np.sum(shares[shares > 0] * np.log(shares[shares > 0])) / np.log(256)
        np.testing.assert_allclose(row, [expected[name] for name in statistics.HARALICK], atol=1e-5)


def test_pairs_four_pixels_apart_are_counted_by_hand() -> None:
    levels = np.zeros((1, 5, 5), dtype=np.uint8)
    levels[0, 0, 0] = 3
    # of 12 pairs at distance 4 (five across, five down, two diagonal), (0, 0) begins one each way: 3 of 12
    matrix = statistics.co_occurrence(levels, 4)[0]
    assert matrix[0, 3] == pytest.approx(3 / 24)
    assert matrix[3, 0] == pytest.approx(3 / 24)
    assert matrix[0, 0] == pytest.approx(18 / 24)


@pytest.mark.parametrize("radius", [1, 3])
def test_binary_patterns_equal_a_count_pixel_by_pixel(radius: int) -> None:
    # scikit-image interpolates the diagonal neighbours, so it cannot be compared
    image = np.random.default_rng(2).integers(0, 8, (12, 12)).astype(np.uint8)
    reach = {1: 1, 3: 2}[radius]
    ring = [(0, radius), (-reach, reach), (-radius, 0), (-reach, -reach)]
    ring += [(-down, -right) for down, right in ring]
    expected = np.zeros(10)
    for y in range(radius, 12 - radius):
        for x in range(radius, 12 - radius):
            bits = [int(image[y + down, x + right] >= image[y, x]) for down, right in ring]
            n_changes = sum(bits[k] != bits[k - 1] for k in range(8))
            expected[sum(bits) if n_changes <= 2 else 9] += 1
    np.testing.assert_allclose(statistics.binary_patterns(image[None], radius)[0], expected / expected.sum(), atol=1e-6)


def test_gradients_and_details_of_a_ramp_are_known() -> None:
    ramp = np.tile(np.arange(16, dtype=np.float32), (1, 16, 1))
    np.testing.assert_allclose(statistics.gradient_energy(ramp), [[1, 0, 1]], atol=1e-6)
    # a block of two ramp pixels differs from its mean by half a step, which doubles with every halving
    np.testing.assert_allclose(statistics.detail_by_scale(ramp, 3), [[0.5, 1.0, 2.0]], atol=1e-6)


def test_more_nuclei_mean_more_haematoxylin_and_more_peaks() -> None:
    features = features_of(*(tissue(128, 128, n_nuclei) for n_nuclei in (0, 8, 30)))
    for name in ("haematoxylin_mean", "nuclear_area_0.4", "nuclear_density", "haematoxylin_detail_8"):
        assert features[name][0] < features[name][1] < features[name][2], name
    assert features["nuclear_density"][0] == 0


def test_the_density_counts_nuclei() -> None:
    picture = np.empty((64, 64, 3), np.uint8)
    picture[:] = (230, 160, 200)
    for y, x in ((10, 10), (10, 40), (30, 20), (50, 50), (52, 12)):
        picture[y - 3 : y + 4, x - 3 : x + 4] = (110, 80, 160)
        picture[y, x] = (60, 40, 120)
    assert features_of(picture)["nuclear_density"][0] == pytest.approx(100 * 5 / 64**2)


def test_redder_tissue_means_more_eosin() -> None:
    pale, strong = np.full((64, 64, 3), 235, np.uint8), np.full((64, 64, 3), 235, np.uint8)
    pale[..., 1] = 200
    strong[..., 1] = 110
    features = features_of(pale, strong)
    assert features["eosin_mean"][1] > features["eosin_mean"][0] > 0


def test_coarser_texture_moves_detail_to_larger_scales() -> None:
    rng = np.random.default_rng(0)
    fine = np.repeat(rng.integers(80, 220, (64, 64, 1)), 3, axis=2).astype(np.uint8)
    coarse = np.kron(fine[::8, ::8], np.ones((8, 8, 1))).astype(np.uint8)
    features = features_of(fine, coarse)
    assert features["grey_detail_2"][0] > features["grey_detail_2"][1]
    assert features["grey_detail_16"][0] < features["grey_detail_16"][1]
    assert features["grey_contrast_1"][0] > features["grey_contrast_1"][1]


def test_turning_and_mirroring_a_patch_changes_no_feature_but_gradients_at_the_border() -> None:
    patch = tissue(SIDE, SIDE, 12)
    features = features_of(patch, np.rot90(patch), np.rot90(patch, 2), patch[:, ::-1])
    for name, values in features.items():
        tolerance = 0.05 * abs(values[0]) if "gradient" in name else 1e-4
        np.testing.assert_allclose(values, values[0], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_constant_patch_gives_finite_features(value: int) -> None:
    features = texture_features(np.full((2, SIDE, SIDE, 3), value, np.uint8))
    assert np.isfinite(features).all()


@pytest.mark.parametrize("side", [1, 2, 4, 7])
def test_the_few_pixels_of_a_low_resolution_picture_give_finite_features(side: int) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (5, side, side, 3)).astype(np.uint8)
    features = texture_features(np.stack([prepare(patch) for patch in patches]))
    assert np.isfinite(features).all()
    assert np.ptp(features[:, FEATURE_NAMES.index("red_mean")]) > 0.01


def test_what_was_masked_out_in_black_counts_as_background() -> None:
    masked, white = tissue(SIDE, SIDE, 10), tissue(SIDE, SIDE, 10)
    masked[:20] = 0
    white[:20] = 255
    features = features_of(masked, white)
    for name, values in features.items():
        assert values[0] == values[1], name
    assert features["background_area"][0] >= 20 / 64


def test_a_patchs_features_do_not_depend_on_its_batch() -> None:
    patches = np.stack([tissue(SIDE, SIDE, n, seed=n) for n in range(9)])
    alone = np.concatenate([texture_features(patch[None]) for patch in patches])
    np.testing.assert_array_equal(texture_features(patches), alone)


def test_names_are_distinct_and_of_the_documented_count() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == 134


def test_hundreds_of_patches_take_a_second_of_one_core() -> None:
    patches = [tissue(100, 100, 20)] * 64
    texture_features(np.stack([prepare(patch) for patch in patches[:2]]))
    started = time.process_time()
    texture_features(np.stack([prepare(patch) for patch in patches]))
    # measured at 890 per second; the bound leaves room for a slower machine
    assert 64 / (time.process_time() - started) > 200

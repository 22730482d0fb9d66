from __future__ import annotations

import numpy as np
import pytest

from stalign_core.correction import CorrectionTerms, check_can_map, map_embedding, map_where_present
from stalign_core.correction.harmony import correct
from stalign_core.correction.harmony_mapping import batch_shifts, map_harmony, soft_memberships
from stalign_core.errors import CorrectionError
from stalign_core.settings import CorrectionSettings

from .cohorts import mixing, shifted_batches, type_purity

SETTINGS = CorrectionSettings()


def terms_of(centroids: np.ndarray, sizes: np.ndarray, sums: np.ndarray) -> CorrectionTerms:
    arrays = {"centroids": centroids, "cluster_sizes": sizes, "cluster_sums": sums}
    return CorrectionTerms(arrays, {"sigma": 0.1, "ridge_share": 0.2, "smallest_share": 1e-5})


def new_batch(features: np.ndarray, batches: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A third batch: the spots of the first, drawn anew and moved by a vector of their own."""
    rng = np.random.default_rng(5)
    chosen = np.flatnonzero(batches == "one")
    moved = features[chosen] + rng.normal(0, 3, features.shape[1]) + rng.normal(0, 0.5, features[chosen].shape)
    return moved.astype(np.float32), types[chosen]


def test_one_cluster_by_hand() -> None:
    # N = 4, S = 8, n = 2, s = 10, r = .2 * 6 * 2 / 6 = .4: 6 a + 2 b = 18 and 2 a + 2.4 b = 10 give b = 30 / 13.
    terms = terms_of(np.array([[1.0]]), np.array([[3.0, 1.0]]), np.array([[8.0]]))
    mapped = map_harmony(np.array([[4.0], [6.0]]), terms)
    np.testing.assert_allclose(mapped, [[4 - 30 / 13], [6 - 30 / 13]], rtol=1e-6)


def test_memberships_by_hand() -> None:
    # Cosines 1, 1/2 and -1 to the one centroid; 0, sqrt(3)/2 and 0 to the other; lengths play no part.
    features = np.array([[7.0, 0.0], [0.5, np.sqrt(3) / 2], [-0.1, 0.0], [0.0, 0.0]])
    found = soft_memberships(features, np.eye(2), sigma=0.5)
    weights = np.exp(-4 * (1 - np.array([[1, 0], [0.5, np.sqrt(3) / 2], [-1, 0], [0, 0]])))
    np.testing.assert_allclose(found, weights / weights.sum(axis=1, keepdims=True), rtol=1e-12)


def test_shifts_are_those_of_a_weighted_ridge_regression_on_all_spots() -> None:
    rng = np.random.default_rng(0)
    reference, new = rng.normal(size=(40, 3)), rng.normal(2, 1, size=(15, 3))
    of_reference, of_new = (rng.dirichlet(np.ones(4), n) for n in (40, 15))
    found = batch_shifts(
        new, of_new, of_reference.sum(axis=0), of_reference.T @ reference, ridge_share=0.3, smallest_share=0.0
    )
    design = np.column_stack([np.ones(55), np.repeat([0.0, 1.0], [40, 15])])
    for cluster in range(4):
        weights = np.concatenate([of_reference[:, cluster], of_new[:, cluster]])
        ridge = 0.3 * weights.sum() * 15 / 55
        # The penalty as one more observation: sqrt(ridge) * shift = 0.
        rows = np.vstack([design * np.sqrt(weights)[:, None], [0, np.sqrt(ridge)]])
        values = np.vstack([np.vstack([reference, new]) * np.sqrt(weights)[:, None], np.zeros(3)])
        expected = np.linalg.lstsq(rows, values, rcond=None)[0][1]
        np.testing.assert_allclose(found[cluster], expected, atol=1e-12)


def test_a_cluster_without_new_spots_shifts_nothing() -> None:
    found = batch_shifts(
        np.ones((2, 1)),
        np.array([[1.0, 0.0], [1.0, 0.0]]),
        np.array([5.0, 5.0]),
        np.zeros((2, 1)),
        ridge_share=0.2,
        smallest_share=1e-5,
    )
    assert found[0, 0] > 0.5
    assert found[1, 0] == 0


def test_a_new_batch_joins_its_types_in_the_corrected_space() -> None:
    features, batches, types = shifted_batches()
    fitted = correct(features, batches, SETTINGS, 0)
    new, of_type = new_batch(features, batches, types)
    mapped = map_harmony(new, fitted.terms)
    assert mapped.dtype == np.float32
    together = np.array(["old"] * len(features) + ["new"] * len(new))
    before, after = np.vstack([fitted.features, new]), np.vstack([fitted.features, mapped])
    is_new = together == "new"
    assert mixing(after, together) > 2 * mixing(before, together)
    assert type_purity(after, np.concatenate([types, of_type])) > 0.95
    assert is_new.sum() == len(new)


@pytest.mark.parametrize(
    ("n_per_batch", "n_components"), [(200, 10), (300, 20)], ids=["other clusters", "as many clusters as components"]
)
def test_a_fitted_batch_mapped_as_if_new_lands_where_the_fit_put_it(n_per_batch: int, n_components: int) -> None:
    features, batches, _ = shifted_batches(n_per_batch=n_per_batch, n_components=n_components)
    fitted = correct(features, batches, SETTINGS, 0)
    inside = batches == "two"
    mapped = map_harmony(features[inside], fitted.terms)
    off = np.linalg.norm(mapped - fitted.features[inside], axis=1).mean()
    moved = np.linalg.norm(features[inside] - fitted.features[inside], axis=1).mean()
    assert off < moved / 4


def test_nothing_learnt_from_one_batch_leaves_new_ones_as_they_are() -> None:
    features, _, _ = shifted_batches()
    fitted = correct(features, np.full(len(features), "only"), SETTINGS, 0)
    np.testing.assert_array_equal(map_harmony(features[:9], fitted.terms), features[:9])


def test_missing_spots_are_zero_and_weigh_nothing() -> None:
    features, batches, types = shifted_batches()
    terms = correct(features, batches, SETTINGS, 0).terms
    new, _ = new_batch(features, batches, types)
    present = np.arange(len(new)) % 3 > 0
    new[~present] = np.nan
    mapped = map_where_present("harmony", new, present, terms)
    assert not mapped[~present].any()
    np.testing.assert_array_equal(mapped[present], map_harmony(new[present], terms))
    assert not map_where_present("harmony", new, np.zeros(len(new), bool), terms).any()


def test_scanorama_is_refused_in_one_line_that_says_what_to_do() -> None:
    with pytest.raises(CorrectionError) as caught:
        map_embedding("scanorama", np.zeros((3, 2)), CorrectionTerms())
    assert str(caught.value) == (
        "scanorama: cannot place new samples: it aligns batches with one another and learns no mapping; expected "
        "uncorrected or harmony or scvi; map onto a variant of one of these, or add the samples to the sample sheet "
        "and run the study"
    )


def test_methods_that_map_no_embedding_are_refused() -> None:
    with pytest.raises(CorrectionError, match="'scvi' does not map embeddings; expected uncorrected or harmony"):
        map_embedding("scvi", np.zeros((3, 2)), CorrectionTerms())
    with pytest.raises(CorrectionError, match="'combat' is no method"):
        check_can_map("combat")


def test_features_that_do_not_fit_are_refused() -> None:
    features, batches, _ = shifted_batches()
    terms = correct(features, batches, SETTINGS, 0).terms
    with pytest.raises(CorrectionError, match="expected 10 components, as fitted"):
        map_harmony(features[:, :9], terms)
    broken = features.copy()
    broken[4, 0] = np.inf
    with pytest.raises(CorrectionError, match="not finite in 1 spots, first row 4"):
        map_harmony(broken, terms)


def test_terms_whose_clusters_were_stored_transposed_are_refused() -> None:
    features, batches, _ = shifted_batches(n_per_batch=300, n_components=20)
    terms = correct(features, batches, SETTINGS, 0).terms
    turned = CorrectionTerms({**terms.arrays, "centroids": terms.arrays["centroids"].T.copy()}, terms.facts)
    with pytest.raises(CorrectionError) as caught:
        map_harmony(features, turned)
    assert str(caught.value) == (
        "harmony: cannot place new samples: the reference was fitted by a version that stored its clusters wrongly; "
        "fit it again"
    )


def test_a_cluster_whose_spots_cancel_out_maps() -> None:
    terms = terms_of(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[3.0, 1.0], [2.0, 2.0]]), np.ones((2, 2)))
    assert np.isfinite(map_harmony(np.array([[4.0, 1.0], [6.0, 2.0]]), terms)).all()

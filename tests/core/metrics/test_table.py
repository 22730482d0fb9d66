from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from stalign_core.metrics import COLUMNS, Measurements, composite_score, measure
from stalign_core.metrics.table import _mixing_rows
from stalign_core.settings import MetricSettings


def _cohort() -> dict[str, Any]:
    """Two donors with two sections each of 60 spots; half of section a2 is unannotated, b2 wholly."""
    rng = np.random.default_rng(0)
    samples = np.repeat(["a1", "a2", "b1", "b2"], 60)
    layers = rng.integers(0, 3, 240)
    labels = np.array([f"L{layer}" for layer in layers], dtype=object)
    labels[60:90] = None
    labels[90:95] = "undetermined"
    labels[180:] = pd.NA
    noisy = np.where(rng.random(240) < 0.2, rng.integers(0, 3, 240), layers)
    return {
        "embedding": rng.normal(size=(240, 5)) + 2 * np.eye(5)[layers],
        "domains": {"kmeans": noisy.astype(str), "tied": layers.astype(str)},
        "labels": labels,
        "samples": samples,
        "donors": np.array([sample[0].upper() for sample in samples]),
        "positions": rng.uniform(size=(240, 2)),
    }


def _measure(cohort: dict[str, Any], **changes: Any) -> Measurements:
    arguments = {**cohort, "settings": MetricSettings(), **changes}
    return measure("harmony", arguments.pop("embedding"), arguments.pop("domains"), **arguments)


@pytest.fixture(scope="module")
def measured() -> Measurements:
    return _measure(_cohort())


def _annotated(cohort: dict[str, Any]) -> np.ndarray:
    return np.array([isinstance(label, str) and label.startswith("L") for label in cohort["labels"]])


def _skipped(measured: Measurements) -> set[tuple[str, str, str]]:
    return {(skipped.metric, skipped.clusterer, skipped.sample) for skipped in measured.skipped}


def test_the_table_is_long_complete_and_unique(measured: Measurements) -> None:
    table = measured.table
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(["clusterer", "sample", "metric"]).any()
    assert set(table["step"]) == {"harmony"}
    assert np.isfinite(table["value"]).all()
    pooled = table[(table["sample"] == "") & (table["clusterer"].isin(["", "tied"]))]
    assert set(pooled["metric"]) == {
        *("ari", "nmi", "ari_sample_mean", "nmi_sample_mean", "n_domains", "composite"),
        *("ari_donor", "ari_donor_annotated", "ari_donor_of_labels"),
        *("silhouette", "silhouette_domains", "ilisi", "kbet", "chaos", "chaos_standardised", "pas"),
    }


def test_agreement_counts_annotated_spots_only(measured: Measurements) -> None:
    cohort = _cohort()
    inside = _annotated(cohort)
    labels, found = cohort["labels"][inside].astype(str), cohort["domains"]["kmeans"][inside]
    assert measured.facts["n_annotated"] == inside.sum() == 145
    assert measured.pooled("ari", "kmeans") == pytest.approx(adjusted_rand_score(labels, found))
    assert measured.pooled("nmi", "kmeans") == pytest.approx(normalized_mutual_info_score(labels, found))
    assert measured.pooled("ari", "tied") == 1


def test_samples_are_scored_alone_with_their_donor(measured: Measurements) -> None:
    rows = measured.table[(measured.table["metric"] == "ari") & (measured.table["clusterer"] == "kmeans")]
    per_sample = rows[rows["sample"] != ""].set_index("sample")
    assert per_sample["donor"].to_dict() == {"a1": "A", "a2": "A", "b1": "B"}
    cohort = _cohort()
    a1 = slice(0, 60)
    expected = adjusted_rand_score(cohort["labels"][a1].astype(str), cohort["domains"]["kmeans"][a1])
    assert per_sample.loc["a1", "value"] == pytest.approx(expected)
    assert measured.pooled("ari_sample_mean", "kmeans") == pytest.approx(per_sample["value"].mean())
    assert ("ari", "kmeans", "b2") in _skipped(measured)


def test_donor_agreement_is_given_over_all_and_over_annotated_spots(measured: Measurements) -> None:
    cohort = _cohort()
    inside = _annotated(cohort)
    donors, found = cohort["donors"], cohort["domains"]["kmeans"]
    assert measured.pooled("ari_donor", "kmeans") == pytest.approx(adjusted_rand_score(donors, found))
    expected = adjusted_rand_score(donors[inside], found[inside])
    assert measured.pooled("ari_donor_annotated", "kmeans") == pytest.approx(expected)
    expected = adjusted_rand_score(donors[inside], cohort["labels"][inside].astype(str))
    assert measured.pooled("ari_donor_of_labels") == pytest.approx(expected)


def test_silhouettes_are_of_labels_and_of_domains(measured: Measurements) -> None:
    cohort = _cohort()
    inside = _annotated(cohort)
    of_labels = silhouette_score(cohort["embedding"][inside], cohort["labels"][inside].astype(str))
    of_domains = silhouette_score(cohort["embedding"], cohort["domains"]["kmeans"])
    assert measured.pooled("silhouette") == pytest.approx((of_labels + 1) / 2, abs=1e-5)
    assert measured.pooled("silhouette_domains", "kmeans") == pytest.approx((of_domains + 1) / 2, abs=1e-5)


def test_composite_joins_the_five_pooled_metrics(measured: Measurements) -> None:
    values = {name: measured.pooled(name, "kmeans") for name in ("ari", "nmi")}
    values |= {name: measured.pooled(name) for name in ("silhouette", "ilisi", "kbet")}
    expected = composite_score(values, 0.6)  # type: ignore[arg-type]
    assert measured.pooled("composite", "kmeans") == pytest.approx(expected)


def test_one_sample_has_no_mixing_and_says_why() -> None:
    cohort = _cohort()
    one = {name: value[:60] for name, value in cohort.items() if name != "domains"}
    measured = _measure(one | {"domains": {"tied": cohort["domains"]["tied"][:60]}}, partition_donor="A")
    assert {("ilisi", "", ""), ("kbet", "", ""), ("composite", "tied", "")} <= _skipped(measured)
    assert next(s.reason for s in measured.skipped if s.metric == "ilisi") == "there is one sample only"
    assert next(s.reason for s in measured.skipped if s.metric == "composite") == "needs ilisi, kbet"
    assert measured.pooled("ari", "tied") == 1
    assert set(measured.table["donor"]) == {"A"}


def test_no_labels_leaves_what_needs_none() -> None:
    measured = _measure(_cohort(), labels=np.full(240, None))
    assert {"silhouette_domains", "ilisi", "kbet", "chaos", "pas", "ari_donor"} <= set(measured.table["metric"])
    assert not {"ari", "nmi", "silhouette", "composite"} & set(measured.table["metric"])
    assert {("ari", "tied", ""), ("silhouette", "", ""), ("composite", "tied", "")} <= _skipped(measured)


def test_one_domain_has_no_silhouette() -> None:
    measured = _measure(_cohort(), domains={"tied": np.full(240, "1")})
    assert ("silhouette_domains", "tied", "") in _skipped(measured)
    assert measured.pooled("silhouette") is not None
    assert measured.pooled("n_domains", "tied") == 1


def test_donors_as_batches_mix_otherwise_than_samples(measured: Measurements) -> None:
    by_donor = _measure(_cohort(), covariate="donor")
    assert by_donor.pooled("ilisi") != pytest.approx(measured.pooled("ilisi"), abs=1e-3)
    assert by_donor.facts["batch"] == "donor"


def test_large_partitions_are_measured_on_a_seeded_subsample() -> None:
    few = MetricSettings(max_spots=120)
    first, again, other = (_measure(_cohort(), settings=few, seed=seed) for seed in (1, 1, 2))
    assert first.facts["n_spots_in_embedding_metrics"] == first.facts["n_spots_in_mixing_metrics"] == 120
    pd.testing.assert_frame_equal(first.table, again.table)
    assert first.pooled("silhouette") != other.pooled("silhouette")
    assert first.pooled("ari", "kmeans") == other.pooled("ari", "kmeans")


def test_mixing_of_a_subsample_is_off_by_chance_alone() -> None:
    rng = np.random.default_rng(0)
    batches = np.repeat([f"s{number}" for number in range(8)], 400).astype(object)
    embedding = rng.normal(size=(3200, 4)) + 0.3 * rng.normal(size=(8, 4)).repeat(400, axis=0)
    whole, *parts = (
        measure(
            "aestetik",
            embedding,
            {},
            labels=np.full(3200, None),
            samples=batches,
            donors=batches,
            positions=np.zeros((3200, 2)),
            settings=MetricSettings(max_spots=max_spots),
            seed=seed,
        )
        for max_spots, seed in [(3200, 0), *((400, seed) for seed in range(8))]
    )
    for metric in ("ilisi", "kbet"):
        of_all = whole.pooled(metric)
        found = np.array([part.pooled(metric) for part in parts])
        assert 0.02 < of_all < 0.98
        assert abs(found.mean() - of_all) < 3 * found.std() / np.sqrt(len(found)) + 0.005


@pytest.mark.parametrize(
    ("n_spots", "n_measured"), [(20_000, None), (20_001, 20_000), (200_000, 10_000), (1_000_000, 2000), (10**7, 2000)]
)
def test_the_neighbourhoods_of_a_million_spots_take_no_more_distances_than_those_of_a_hundred_thousand(
    n_spots: int, n_measured: int | None
) -> None:
    rows = _mixing_rows(n_spots, 20_000, 0)
    assert (None if rows is None else len(rows)) == n_measured

"""All metrics of one embedding and its domains, as a long table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stalign_core.domains.annotation import IGNORED_LABELS, is_annotated
from stalign_core.metrics.agreement import adjusted_rand_index, normalized_mutual_information
from stalign_core.metrics.coherence import PAS_NEIGHBORS, chaos, chaos_standardised, pas
from stalign_core.metrics.composite import BATCH_METRICS, BIO_METRICS, composite_score
from stalign_core.metrics.mixing import ilisi, kbet
from stalign_core.metrics.neighborhoods import find_neighborhoods, neighborhood_size
from stalign_core.metrics.separation import OUTSIDE, rescaled_silhouettes
from stalign_core.settings import MetricSettings

MOST_PAIRS: Final = 2_000_000_000
"""Distances that the neighbourhoods of a subsample may take; above, it shrinks, down to `FEWEST_MEASURED` spots."""
FEWEST_MEASURED: Final = 2_000

COLUMNS: Final = ("step", "clusterer", "donor", "sample", "metric", "value")


@dataclass(frozen=True)
class SkippedMetric:
    """A metric that does not apply here, and why."""

    metric: str
    reason: str
    clusterer: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Measurements:
    """What `measure` returns.

    Attributes
    ----------
    table
        Columns `COLUMNS`; clusterer is empty for metrics of the embedding alone, sample for pooled metrics.
    skipped
        Metrics left out of the table.
    facts
        n_spots, n_annotated, n_spots_in_embedding_metrics (silhouettes), n_spots_in_mixing_metrics (iLISI, kBET),
        n_neighbors, batch: numbers to report beside the table.
    """

    table: pd.DataFrame
    skipped: list[SkippedMetric]
    facts: dict[str, Any]

    def pooled(self, metric: str, clusterer: str = "") -> float | None:
        """A pooled value, or None where the metric was skipped."""
        rows = self.table
        found = rows[(rows["metric"] == metric) & (rows["clusterer"] == clusterer) & (rows["sample"] == "")]
        return float(found["value"].iloc[0]) if len(found) else None


@dataclass
class _Spots:
    """What is known of the spots besides their embedding."""

    labels: npt.NDArray[np.object_]
    annotated: npt.NDArray[np.bool_]
    samples: npt.NDArray[np.str_]
    donors: npt.NDArray[np.str_]
    positions: npt.NDArray[np.float64]
    rows_of_sample: dict[str, npt.NDArray[np.intp]] = field(init=False)

    def __post_init__(self) -> None:
        names, codes = np.unique(self.samples, return_inverse=True)
        rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        self.rows_of_sample = {str(sample): inside for sample, inside in zip(names, rows, strict=True)}


class _Collector:
    """Rows of the table and reasons for those that are missing."""

    def __init__(self, step: str, partition_donor: str, spots: _Spots) -> None:
        self.rows: list[tuple[str, str, str, str, str, float]] = []
        self.skipped: list[SkippedMetric] = []
        self._step = step
        self._partition_donor = partition_donor
        self._donor_of = {sample: str(spots.donors[rows[0]]) for sample, rows in spots.rows_of_sample.items()}

    def add(self, metric: str, value: float, clusterer: str = "", sample: str = "") -> None:
        donor = self._donor_of[sample] if sample else self._partition_donor
        self.rows.append((self._step, clusterer, donor, sample, metric, float(value)))

    def skip(self, metric: str, reason: str, clusterer: str = "", sample: str = "") -> None:
        self.skipped.append(SkippedMetric(metric, reason, clusterer, sample))

    def pooled_values(self, clusterer: str) -> dict[str, float]:
        return {row[4]: row[5] for row in self.rows if row[3] == "" and row[1] in ("", clusterer)}

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(COLUMNS)).astype({"value": "float64"})


def measure(
    step: str,
    embedding: npt.NDArray[Any],
    domains: Mapping[str, npt.NDArray[Any]],
    *,
    labels: Any,
    samples: Any,
    donors: Any,
    positions: npt.NDArray[Any],
    settings: MetricSettings,
    seed: int = 0,
    covariate: Literal["sample", "donor"] = "sample",
    ignored_labels: Collection[str] = IGNORED_LABELS,
    partition_donor: str = "",
) -> Measurements:
    """Measure one embedding of a partition and the domains found in it.

    Pooled rows: ``ari`` and ``nmi`` (domains against labels, over all annotated spots), ``ari_sample_mean`` and
    ``nmi_sample_mean``; ``ari_donor`` (domains against donors, all spots; lower is better), ``ari_donor_annotated``
    (over annotated spots) and ``ari_donor_of_labels`` (what the labels themselves have: nothing is won below it);
    ``silhouette`` (of labels), ``silhouette_domains``; ``ilisi``, ``kbet``; ``n_domains``; the means over samples of
    ``chaos``, ``chaos_standardised`` and ``pas``; ``composite``. Per sample: ``ari``, ``nmi``, ``chaos``,
    ``chaos_standardised``, ``pas``.

    Spots without a label, or with an ignored one, count in everything that needs no label. Above
    ``settings.max_spots`` spots, silhouettes are those of a subsample, and iLISI and kBET those of a subsample's
    neighbourhoods among all spots.

    Parameters
    ----------
    step
        What made the embedding, such as ``"harmony"`` or ``"aestetik"``.
    embedding
        (n_spots, n_features).
    domains
        By clusterer, (n_spots,) domains.
    labels, samples, donors
        (n_spots,) each; labels may be missing.
    positions
        (n_spots, 2) spot centres, one unit along both axes, comparable within a sample.
    settings
        Neighbourhood, spots that are measured for silhouettes, iLISI and kBET, weight of the composite.
    seed
        Of the subsample above ``settings.max_spots`` spots.
    covariate
        Whether batches are samples or donors.
    ignored_labels
        Labels that say nothing about the tissue.
    partition_donor
        Written as the donor of pooled rows: the donor in donor scope, empty in cohort scope.
    """
    given = np.asarray(labels, dtype=object)
    spots = _Spots(
        labels=given,
        annotated=is_annotated(given, ignored_labels),
        samples=np.asarray(samples).astype(str),
        donors=np.asarray(donors).astype(str),
        positions=np.asarray(positions, dtype=np.float64),
    )
    collector = _Collector(step, partition_donor, spots)
    batches = spots.samples if covariate == "sample" else spots.donors
    rows = _measured_rows(len(spots.samples), settings.max_spots, seed)
    size = neighborhood_size(batches, settings.n_neighbors)
    mixed = _mixing_rows(len(batches), settings.max_spots, seed)
    _measure_mixing(collector, np.asarray(embedding), batches, size, mixed, covariate)
    _measure_separation(collector, np.asarray(embedding)[rows], domains, spots, rows)
    _measure_labels_against_donors(collector, spots)
    for clusterer, found in domains.items():
        _measure_domains(collector, clusterer, np.asarray(found).astype(str), spots)
        _measure_composite(collector, clusterer, settings.bio_weight)
    facts = {
        "n_spots": len(spots.samples),
        "n_annotated": int(spots.annotated.sum()),
        "n_spots_in_embedding_metrics": len(rows),
        "n_spots_in_mixing_metrics": len(batches) if mixed is None else len(mixed),
        "n_neighbors": size,
        "batch": covariate,
    }
    return Measurements(collector.table(), collector.skipped, facts)


def _measured_rows(n_spots: int, max_spots: int, seed: int) -> npt.NDArray[np.int64]:
    if n_spots <= max_spots:
        return np.arange(n_spots)
    return np.sort(np.random.default_rng(seed).choice(n_spots, max_spots, replace=False))


def _mixing_rows(n_spots: int, max_spots: int, seed: int) -> npt.NDArray[np.int64] | None:
    """Spots whose neighbourhoods are measured; None for all of them."""
    if n_spots <= max_spots:
        return None
    return _measured_rows(n_spots, min(max_spots, max(FEWEST_MEASURED, MOST_PAIRS // n_spots)), seed)


def _measure_mixing(
    collector: _Collector,
    embedding: npt.NDArray[Any],
    batches: npt.NDArray[np.str_],
    size: int,
    rows: npt.NDArray[np.int64] | None,
    covariate: str,
) -> None:
    if len(np.unique(batches)) < 2:
        for metric in BATCH_METRICS:
            collector.skip(metric, f"there is one {covariate} only")
        return
    neighborhoods = find_neighborhoods(embedding, size, rows)
    collector.add("ilisi", ilisi(neighborhoods, batches))
    collector.add("kbet", kbet(neighborhoods, batches))


def _measure_separation(
    collector: _Collector,
    embedding: npt.NDArray[Any],
    domains: Mapping[str, npt.NDArray[Any]],
    spots: _Spots,
    rows: npt.NDArray[np.int64],
) -> None:
    names: dict[str, tuple[str, str]] = {"": ("silhouette", "")}
    divisions = {"": _codes(spots.labels[rows], spots.annotated[rows])}
    everyone = np.ones(len(rows), dtype=bool)
    for clusterer, found in domains.items():
        names[clusterer] = ("silhouette_domains", clusterer)
        divisions[clusterer] = _codes(np.asarray(found)[rows], everyone)
    for name in [name for name, codes in divisions.items() if codes.max() < 1]:
        metric, clusterer = names[name]
        what = "domains" if clusterer else "labels"
        collector.skip(metric, f"needs two {what} at least", clusterer)
        del divisions[name]
    if divisions:
        for name, value in rescaled_silhouettes(embedding, divisions).items():
            metric, clusterer = names[name]
            collector.add(metric, value, clusterer)


def _codes(groups: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    codes = np.full(len(groups), OUTSIDE, dtype=np.int64)
    codes[inside] = np.unique(groups[inside].astype(str), return_inverse=True)[1]
    return codes


def _measure_labels_against_donors(collector: _Collector, spots: _Spots) -> None:
    if len(np.unique(spots.donors[spots.annotated])) < 2:
        collector.skip("ari_donor_of_labels", "fewer than two donors are annotated")
        return
    labels = spots.labels[spots.annotated]
    collector.add("ari_donor_of_labels", adjusted_rand_index(spots.donors[spots.annotated], labels))


def _measure_domains(collector: _Collector, clusterer: str, found: npt.NDArray[np.str_], spots: _Spots) -> None:
    collector.add("n_domains", len(np.unique(found)), clusterer)
    _measure_agreement(collector, clusterer, found, spots)
    _measure_donor_agreement(collector, clusterer, found, spots)
    _measure_coherence(collector, clusterer, found, spots)


def _measure_agreement(collector: _Collector, clusterer: str, found: npt.NDArray[np.str_], spots: _Spots) -> None:
    for metric, score in (("ari", adjusted_rand_index), ("nmi", normalized_mutual_information)):
        if not spots.annotated.any():
            collector.skip(metric, "no spot is annotated", clusterer)
            continue
        collector.add(metric, score(spots.labels[spots.annotated], found[spots.annotated]), clusterer)
        per_sample = []
        for sample, rows in spots.rows_of_sample.items():
            counted = rows[spots.annotated[rows]]
            if not len(counted):
                collector.skip(metric, "no spot of the sample is annotated", clusterer, sample)
                continue
            per_sample.append(score(spots.labels[counted], found[counted]))
            collector.add(metric, per_sample[-1], clusterer, sample)
        collector.add(f"{metric}_sample_mean", float(np.mean(per_sample)), clusterer)


def _measure_donor_agreement(collector: _Collector, clusterer: str, found: npt.NDArray[np.str_], spots: _Spots) -> None:
    everyone = np.ones(len(found), dtype=bool)
    for metric, counted in (("ari_donor", everyone), ("ari_donor_annotated", spots.annotated)):
        if len(np.unique(spots.donors[counted])) < 2:
            collector.skip(metric, "there are fewer than two donors", clusterer)
        else:
            collector.add(metric, adjusted_rand_index(spots.donors[counted], found[counted]), clusterer)


def _measure_coherence(collector: _Collector, clusterer: str, found: npt.NDArray[np.str_], spots: _Spots) -> None:
    for metric, score in (("chaos", chaos), ("chaos_standardised", chaos_standardised), ("pas", pas)):
        per_sample = []
        for sample, rows in spots.rows_of_sample.items():
            if len(rows) <= PAS_NEIGHBORS:
                collector.skip(metric, f"the sample has {PAS_NEIGHBORS} spots or fewer", clusterer, sample)
                continue
            value = score(found[rows], spots.positions[rows])
            if np.isnan(value):
                collector.skip(metric, "each spot is alone in its domain", clusterer, sample)
                continue
            per_sample.append(value)
            collector.add(metric, value, clusterer, sample)
        if per_sample:
            collector.add(metric, float(np.mean(per_sample)), clusterer)


def _measure_composite(collector: _Collector, clusterer: str, bio_weight: float) -> None:
    values = collector.pooled_values(clusterer)
    missing = [name for name in (*BIO_METRICS, *BATCH_METRICS) if name not in values]
    if missing:
        collector.skip("composite", "needs " + ", ".join(missing), clusterer)
    else:
        collector.add("composite", composite_score(values, bio_weight), clusterer)

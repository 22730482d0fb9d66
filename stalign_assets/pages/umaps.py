"""The same spots before and after correction, in the plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stalign_assets.recipes.samples import RAW
from stalign_core.plots.projection import MAX_SPOTS, Projection, project
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.exporting import CohortSource
    from stalign_core.store import Artifact

Array = np.ndarray[Any, Any]

_EXPRESSION: Final = "expression/"
_MORPHOLOGY: Final = "morphology/"
_OBSERVED: Final = "has_morphology/"
_COMPONENTS: Final = {"expression_pca": "", "correction_pca": "", "representation_pca": "features/"}
"""Assets of a scope that hold a cohort's expression before correction, and the prefix of their arrays."""


@dataclass(frozen=True)
class ProjectedSpots:
    """Some spots of a cohort, and where each space puts them.

    Attributes
    ----------
    donor, sample, domain
        (n_drawn,) of each spot.
    expression
        By title: before correction, after it, and the embedding that both modalities were trained to.
    morphology
        By title: before and after, of those spots that have an image; empty where none has.
    """

    donor: Array
    sample: Array
    domain: Array
    expression: Mapping[str, Projection]
    morphology: Mapping[str, Projection]


def project_spots(source: CohortSource, max_spots: int = MAX_SPOTS) -> ProjectedSpots:
    """UMAP of a seeded subsample of the cohort's spots, of each space by itself.

    Before correction stand the features of the uncorrected variant; where it was not run with these donors, the
    principal components that the correction began with, and for a method that begins with counts nothing.
    """
    seed = source.study.settings.seed
    picked = _Picked(source, seed, max_spots)
    before = _uncorrected(source)
    method = source.study.settings.variants[source.variant].correction
    expression, morphology = {}, {}
    if before is not None:
        expression["expression before"] = picked.gather(before, _EXPRESSION)
    elif (components := _began_with(source)) is not None:
        expression["expression before"] = picked.gather(*components)
    if method != "uncorrected":
        expression[f"expression after {method}"] = picked.gather(source.features, _EXPRESSION)
    expression["AESTETIK embedding"] = picked.gather(source.embeddings, "")
    observed = picked.gather(source.features, _OBSERVED).astype(bool)
    if observed.any():
        if before is not None:
            morphology["morphology before"] = picked.gather(before, _MORPHOLOGY)[observed]
        if method != "uncorrected":
            morphology["morphology after harmony"] = picked.gather(source.features, _MORPHOLOGY)[observed]
    return ProjectedSpots(
        donor=picked.donor,
        sample=picked.sample,
        domain=picked.domain,
        expression={title: project(space, seed) for title, space in expression.items()},
        morphology={title: _of_rows(project(space, seed), observed) for title, space in morphology.items()},
    )


def _of_rows(projection: Projection, chosen: Array) -> Projection:
    """A projection of the chosen spots as one of all spots, which draws these alone."""
    return Projection(np.flatnonzero(chosen)[projection.rows], projection.coordinates)


class _Picked:
    """The spots that are drawn, by donor and sample; no more of a stored part is kept than these."""

    def __init__(self, source: CohortSource, seed: int, max_spots: int) -> None:
        of_sample = dict(tuple(source.table.groupby("sample", sort=False)["domain"]))
        numbers = [len(of_sample[sample]) for _, sample in source.samples]
        total = sum(numbers)
        rows = np.arange(total)
        if total > max_spots:
            rows = np.sort(np.random.default_rng(seed).choice(total, max_spots, replace=False))
        ends = np.cumsum(numbers)
        self._rows: dict[tuple[str, str], Array] = {}
        for place, number, end in zip(source.samples, numbers, ends, strict=True):
            start = end - number
            self._rows[place] = rows[(rows >= start) & (rows < end)] - start
        drawn = [(place, len(own)) for place, own in self._rows.items()]
        self.donor = np.concatenate([np.full(n, donor, dtype=object) for (donor, _), n in drawn])
        self.sample = np.concatenate([np.full(n, sample, dtype=object) for (_, sample), n in drawn])
        self.domain = np.concatenate(
            [of_sample[sample].to_numpy(dtype=object)[own].astype(str) for (_, sample), own in self._rows.items()]
        )

    def gather(self, artifact: Artifact, prefix: str) -> Array:
        """The drawn rows of the arrays ``<prefix><sample>``."""
        return np.concatenate(list(self._parts(artifact, prefix)))

    def _parts(self, artifact: Artifact, prefix: str) -> Iterator[Array]:
        of_donor: dict[str, Mapping[str, Array]] = {}
        for (donor, sample), rows in self._rows.items():
            if donor not in of_donor:
                of_donor = {donor: artifact.arrays(f"{donor}.safetensors")}
            yield of_donor[donor][f"{prefix}{sample}"][rows]


def _uncorrected(source: CohortSource) -> Artifact | None:
    """Features of the uncorrected variant over the same donors, if it was run."""
    if source.study.settings.variants[source.variant].correction == "uncorrected":
        return source.features
    chosen = source.study.settings.variants[source.variant]
    for name, variant in source.study.settings.variants.items():
        same = (variant.representation, variant.encoder) == (chosen.representation, chosen.encoder)
        if variant.correction == "uncorrected" and same:
            found = source.study.store.current(f"cohort/{name}/corrected_features", UNPARTITIONED)
            if found is not None and _same_spots(found, source.features):
                return found
    return None


def _same_spots(one: Artifact, other: Artifact) -> bool:
    """Whether both were made of the same samples as read."""
    return _raw_inputs(one) == _raw_inputs(other)


def _raw_inputs(artifact: Artifact) -> set[tuple[str, str]]:
    return {(each.partition, each.input_key) for each in artifact.manifest.inputs if each.asset == RAW}


def _began_with(source: CohortSource) -> tuple[Artifact, str] | None:
    """The components of expression that the corrected features were made from, and what their arrays begin with."""
    for record in source.features.manifest.inputs:
        kind = record.asset.split("/")[1:2]
        if kind and kind[0] in _COMPONENTS:
            found = source.study.store.find(record.asset, record.partition, record.input_key)
            return None if found is None else (found, _COMPONENTS[kind[0]])
    return None

"""The correction methods: one record each. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction import harmony, harmony_mapping, scanorama, scvi, scvi_mapping, uncorrected
from stalign_core.correction.result import Batches, CorrectionResult, CorrectionTerms, Features

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from stalign_core.progress import Progress
    from stalign_core.settings import CorrectionSettings


class EmbeddingCorrection(Protocol):
    """Corrects features (n_spots, n_components), whatever modality they come from."""

    def __call__(
        self, features: Features, batches: Batches, settings: CorrectionSettings, seed: int
    ) -> CorrectionResult: ...


class CountsCorrection(Protocol):
    """Learns corrected features (n_spots, n_latent) from the panel's raw counts (n_spots, n_genes)."""

    def __call__(
        self,
        counts: csr_matrix,
        batches: Batches,
        settings: CorrectionSettings,
        n_latent: int,
        seed: int,
        *,
        genes: list[str] | None = None,
        progress: Progress | None = None,
        device: str = "auto",
    ) -> CorrectionResult: ...


class EmbeddingMapping(Protocol):
    """Corrects the features (n_spots, n_components) of one batch that was not fitted, by what was learnt."""

    def __call__(self, features: Features, terms: CorrectionTerms) -> NDArray[np.float32]: ...


class CountsMapping(Protocol):
    """Places spots that were not fitted in the latent space; see `stalign_core.correction.scvi_mapping.map_scvi`."""

    def __call__(
        self,
        counts: csr_matrix,
        columns: NDArray[np.int64],
        mean_log_counts: NDArray[np.float64],
        terms: CorrectionTerms,
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class MethodRecord:
    """All that the rest of stalign knows of a correction method.

    Attributes
    ----------
    name
        As settings and asset keys have it.
    description
        One line, for the asset graph and the help.
    morphology
        The method that corrects morphology in a variant of this name; itself where it takes any embedding.
    embedding, counts
        The function, under what it needs: an embedding, or raw counts. Exactly one of the two.
    seeded
        Whether chance plays a part, so that the result depends on the seed.
    map_embedding, map_counts
        What places new samples, from the same kind of input; neither for a method that learns no mapping.
    """

    name: str
    description: str
    morphology: str
    embedding: EmbeddingCorrection | None = None
    counts: CountsCorrection | None = None
    seeded: bool = True
    map_embedding: EmbeddingMapping | None = None
    map_counts: CountsMapping | None = None

    @property
    def needs(self) -> Literal["embedding", "counts"]:
        """What the expression side of the method starts from."""
        return "counts" if self.embedding is None else "embedding"

    @property
    def maps(self) -> bool:
        """Whether samples that were not fitted can be placed."""
        return self.map_embedding is not None or self.map_counts is not None


_RECORDS: Final = (
    MethodRecord(
        "uncorrected",
        "No correction: the baseline",
        "uncorrected",
        embedding=uncorrected.correct,
        seeded=False,
        map_embedding=uncorrected.map_uncorrected,
    ),
    MethodRecord(
        "harmony",
        "Harmony: soft clusters, each shifted towards what its batches share (Korsunsky et al. 2019)",
        "harmony",
        embedding=harmony.correct,
        map_embedding=harmony_mapping.map_harmony,
    ),
    MethodRecord(
        "scanorama",
        "Scanorama: batches stitched together along mutual nearest neighbours (Hie et al. 2019)",
        "harmony",
        embedding=scanorama.correct,
        seeded=False,
    ),
    MethodRecord(
        "scvi",
        "scVI: latent space of a variational autoencoder on raw counts that is told the batch (Lopez et al. 2018)",
        "harmony",
        counts=scvi.fit_scvi,
        map_counts=scvi_mapping.map_scvi,
    ),
)

METHODS: Final[Mapping[str, MethodRecord]] = MappingProxyType({record.name: record for record in _RECORDS})
"""Every correction method by its name."""

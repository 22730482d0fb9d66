"""All that placing a new sample needs of a cohort that was integrated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction import CorrectionTerms, check_can_map
from stalign_core.correction.registry import METHODS
from stalign_core.errors import EncoderError, ModelError
from stalign_core.mapping.familiarity import Familiarity
from stalign_core.settings import EncoderSettings, MorphologySettings

if TYPE_CHECKING:
    from stalign_core.aestetik import Aestetik
    from stalign_core.domains import DomainAssigner
    from stalign_core.expression.basis import ExpressionBasis
    from stalign_core.expression.dense_basis import DenseBasis
    from stalign_core.morphology.encoders.loading import Encoder


@dataclass(frozen=True, eq=False)
class Reference:
    """A trained cohort, without its spots.

    Attributes
    ----------
    method
        What corrected expression.
    expression_basis
        Panel and principal axes; of a study's scVI the panel alone. A new sample is never one that was fitted, even if
        it bears the name of one: the fitted samples' own scales are dropped.
    expression_terms
        What the correction of expression learnt.
    mean_log_counts
        Mean of ``log(1 + count)`` of each panel gene over the fitted spots, (n_panel,); scVI alone needs it.
    encoder_name, encoder, morphology
        The morphology encoder, and how patches are cut.
    encoder_sha256
        Of the encoder's weights; empty where it has none, or no image was encoded.
    morphology_basis
        Principal axes of the encoder's features.
    morphology_terms
        What the correction of morphology learnt.
    model
        The trained model.
    assigner
        Names domains of embeddings.
    familiarity
        Tells spots whose expression resembles none of the reference's.
    refine_neighbors
        Nearest spots that vote on a spot's domain; 0 for no vote.

    Raises
    ------
    CorrectionError
        If the method cannot place new samples.
    ModelError
        If scVI's mean counts are missing.
    """

    method: str
    expression_basis: ExpressionBasis
    expression_terms: CorrectionTerms
    encoder_name: str
    encoder: EncoderSettings
    encoder_sha256: str
    morphology: MorphologySettings
    morphology_basis: DenseBasis
    morphology_terms: CorrectionTerms
    model: Aestetik
    assigner: DomainAssigner
    familiarity: Familiarity
    refine_neighbors: int
    mean_log_counts: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check_can_map(self.method)
        if METHODS[self.method].map_counts is not None and self.mean_log_counts is None:
            raise ModelError(
                "reference",
                f"lacks the mean counts that '{self.method}' needs for missing genes",
                expected="mean_log_counts of the fitted cohort",
                remedy="fit the reference again",
            )
        object.__setattr__(self, "expression_basis", replace(self.expression_basis, sample_scales={}))

    @property
    def reads_images(self) -> bool:
        """Whether the cohort had morphology, without which a new sample's is of no use."""
        return self.morphology_basis.n_rows > 1

    def load_encoder(self) -> Encoder:
        """The morphology encoder, made ready once for all new samples.

        Raises
        ------
        EncoderError
            If it cannot be had, or its weights are not those that the cohort was encoded with.
        """
        from stalign_core.morphology import load_encoder

        loaded = load_encoder(self.encoder_name, self.encoder, self.morphology.device)
        found = str(loaded.facts["weights_sha256"])
        if found != self.encoder_sha256:
            raise EncoderError(
                f"encoders.{self.encoder_name}",
                "its weights are not those that the reference was trained with",
                expected=f"SHA-256 {self.encoder_sha256 or '(no weights)'}, found {found or '(no weights)'}",
                remedy="give the same checkpoint, or train the reference again",
            )
        return loaded

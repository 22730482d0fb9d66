"""One new section, from counts and image to domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.correction.mapping import map_embedding, map_where_present
from stalign_core.correction.registry import METHODS
from stalign_core.expression.normalisation import panel_columns
from stalign_core.mapping.reference import Reference
from stalign_core.progress import Progress
from stalign_core.readers.facts import SampleFacts
from stalign_core.sections import spot_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from stalign_core.morphology.encoders.loading import Encoder

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MappedSection:
    """What is known of a new section's spots, rows in its own order.

    Attributes
    ----------
    missing_genes
        Panel genes that the section lacks.
    expression, expression_corrected
        Principal components, and what the model saw, (n_spots, n_components).
    morphology, morphology_components, morphology_corrected
        The encoder's features, their principal components, and what the model saw.
    has_morphology
        Whether a spot has a usable patch, (n_spots,).
    embedding
        The model's, (n_spots, n_latent).
    domain, domain_unrefined
        After and before the vote of the nearest spots, (n_spots,) str.
    confidence
        How well `domain` stands: its posterior probability under the mixture, or the margin of K-Means
        (`stalign_core.domains.assigner.Assigned`), (n_spots,).
    distance
        How far the embedding lies from the nearest domain, in deviations within domains, (n_spots,).
    resemblance
        Largest correlation of the spot's expression with a domain's mean profile, (n_spots,).
    unlike
        Whether the spot lies farther off, or resembles less, than nearly all spots of the reference, (n_spots,).
    """

    missing_genes: tuple[str, ...]
    expression: Features
    expression_corrected: Features
    morphology: Features
    morphology_components: Features
    morphology_corrected: Features
    has_morphology: NDArray[np.bool_]
    embedding: Features
    domain: NDArray[np.object_]
    domain_unrefined: NDArray[np.object_]
    confidence: NDArray[np.float64]
    distance: NDArray[np.float64]
    resemblance: NDArray[np.float64]
    unlike: NDArray[np.bool_]


def map_section(
    section: AnnData, reference: Reference, encoder: Encoder | None = None, progress: Progress | None = None
) -> MappedSection:
    """Place one section in the reference's space.

    The section is a batch of its own: standardisation within samples and Harmony's shift take all its spots, and no
    other section's.

    Parameters
    ----------
    section
        As `stalign_core.readers.read_sample` gives it.
    reference
        Of the trained cohort.
    encoder
        From `Reference.load_encoder`, to load it once for several sections; None loads it where there is an image.
    progress
        Told the patches encoded.

    Raises
    ------
    StalignError
        If the section has none of the panel's genes, or its image, positions or the encoder cannot be used.
    """
    return place_section(section, reference, *encode_section(section, reference, encoder, progress))


def place_section(
    section: AnnData, reference: Reference, morphology: Features, has_morphology: NDArray[np.bool_]
) -> MappedSection:
    """As `map_section`, for a section whose patches are encoded.

    Parameters
    ----------
    morphology, has_morphology
        As `encode_section` gives them; the rest as in `map_section`.
    """
    name = str(section.obs[keys.SAMPLE].iloc[0])
    genes = np.asarray(section.var_names, dtype=object)
    basis = reference.expression_basis
    columns = panel_columns(genes, basis.panel)
    expression = basis.project(section.X, genes, name)
    corrected = _corrected_expression(section, columns, expression, reference)
    resemblance = reference.familiarity.resemblance(section.X, columns, basis.target_sum)
    components = reference.morphology_basis.project(morphology, has_morphology, where=name)
    morphology_method = METHODS[reference.method].morphology
    morphology_corrected = map_where_present(morphology_method, components, has_morphology, reference.morphology_terms)
    kind = SampleFacts.from_dict(section.uns[keys.STALIGN]).lattice
    lattice, positions = spot_cells(section.obs, section.obsm[keys.SPATIAL], kind)
    embedding = reference.model.embed(
        corrected,
        morphology_corrected,
        lattice,
        np.zeros(section.n_obs, dtype=np.int64),
        has_morphology,
        np.full(section.n_obs, kind == "hexagonal"),
    )
    assigned = reference.assigner.assign(embedding)
    domain = _refined(assigned.domain, positions, reference.refine_neighbors)
    return MappedSection(
        missing_genes=tuple(basis.missing_genes(genes)),
        expression=expression,
        expression_corrected=corrected,
        morphology=morphology,
        morphology_components=components,
        morphology_corrected=morphology_corrected,
        has_morphology=has_morphology,
        embedding=embedding,
        domain=domain,
        domain_unrefined=assigned.domain,
        confidence=reference.assigner.support_of(assigned, domain),
        distance=assigned.distance,
        resemblance=resemblance,
        unlike=assigned.unlike | (resemblance < reference.familiarity.limit),
    )


def encode_section(
    section: AnnData, reference: Reference, encoder: Encoder | None = None, progress: Progress | None = None
) -> tuple[Features, NDArray[np.bool_]]:
    """The encoder's features of each spot, (n_spots, n_features), and which spots have any, (n_spots,).

    Parameters are those of `map_section`. Zeros and no spot, where the section has no image or the reference had none.
    """
    from stalign_core.morphology import embed_with

    if not (reference.reads_images and section.uns[keys.STALIGN]["image"]):
        n_features = len(reference.morphology_basis.means)
        return np.zeros((section.n_obs, n_features), dtype=np.float32), np.zeros(section.n_obs, dtype=bool)
    found = embed_with(encoder or reference.load_encoder(), section, reference.morphology, progress)
    return found.features, found.observed


def _corrected_expression(
    section: AnnData, columns: NDArray[np.int64], expression: Features, reference: Reference
) -> Features:
    map_counts = METHODS[reference.method].map_counts
    if map_counts is None:
        return map_embedding(reference.method, expression, reference.expression_terms)
    assert reference.mean_log_counts is not None, "checked when the reference was made"
    return map_counts(section.X, columns, reference.mean_log_counts, reference.expression_terms)


def _refined(domain: NDArray[np.object_], positions: NDArray[np.float64], n_neighbors: int) -> NDArray[np.object_]:
    from stalign_core.domains import refine
    from stalign_core.grid import nearest_spots

    return refine(domain, nearest_spots(positions, n_neighbors)) if n_neighbors else domain

"""The whole step from embeddings to named domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stalign_core.domains.assigner import DomainAssigner, fit_assigner
from stalign_core.domains.clustering import Clusterer, fit_clusters
from stalign_core.domains.numbering import domain_names, rename
from stalign_core.domains.refinement import refine


@dataclass(frozen=True)
class DomainAssignment:
    """Domains of the spots of one partition.

    Attributes
    ----------
    domain
        (n_spots,) str, refined where refinement was asked for.
    domain_unrefined
        (n_spots,) str, as the clusterer gave them, under the same names.
    assigner
        Gives the same names to spots that were not clustered.
    """

    domain: npt.NDArray[np.object_]
    domain_unrefined: npt.NDArray[np.object_]
    assigner: DomainAssigner

    @property
    def n_found(self) -> int:
        """Domains that hold a spot."""
        return len(set(self.domain))

    @property
    def n_changed(self) -> int:
        """Spots that refinement moved to another domain."""
        return int((self.domain != self.domain_unrefined).sum())


def assign_domains(
    embedding: npt.NDArray[Any],
    n_domains: int,
    clusterer: Clusterer,
    seed: int,
    *,
    spot_names: npt.NDArray[Any],
    nearest: npt.NDArray[np.integer[Any]] | None = None,
    donor: str = "",
) -> DomainAssignment:
    """Cluster, refine and name.

    Names follow the sizes before refinement, so that both columns agree.

    Parameters
    ----------
    embedding, n_domains, clusterer, seed
        As in `cluster`.
    spot_names
        (n_spots,) unique names, such as ``<sample>_<barcode>``.
    nearest
        (n_spots, n_neighbors) as in `refine`; None leaves the domains unrefined.
    donor
        The donor in donor scope, empty in cohort scope.

    Raises
    ------
    SettingsError, ModelError
        As in `cluster`.
    """
    clusters, model = fit_clusters(embedding, n_domains, clusterer, seed)
    names = domain_names(clusters, spot_names, donor=donor)
    refined = clusters if nearest is None else refine(clusters, nearest)
    assigner = fit_assigner(model, embedding, clusters, names)
    return DomainAssignment(rename(refined, names), rename(clusters, names), assigner)

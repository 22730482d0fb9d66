"""Small donors with planted markers, as counts and as profiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stalign_core.downstream import DomainProfiles, ProfileSums

N_GENES = 60
SPOTS_PER_DOMAIN = 40
DOMAINS = ("1", "2", "3")


def gene_keys(n: int = N_GENES) -> NDArray[np.object_]:
    """Keys g00, g01, ..."""
    return np.array([f"g{number:02d}" for number in range(n)], dtype=object)


def simulated_section(
    planted: Mapping[tuple[str, int], float], seed: int, domains: tuple[str, ...] = DOMAINS
) -> tuple[csr_matrix, NDArray[np.object_]]:
    """Counts and domains of a section; `planted` gives the fold of a gene in a domain."""
    generator = np.random.default_rng(seed)
    domain = np.repeat(np.array(domains, dtype=object), SPOTS_PER_DOMAIN)
    mean = np.full((len(domain), N_GENES), 5.0)
    for (name, gene), fold in planted.items():
        mean[domain == name, gene] *= fold
    return csr_matrix(generator.poisson(mean)), domain


def profiles_of(planted: Mapping[tuple[str, int], float], seed: int) -> DomainProfiles:
    """Profiles of a donor with one such section."""
    counts, domain = simulated_section(planted, seed)
    sums = ProfileSums(DOMAINS, 1e4)
    sums.add_section(counts, gene_keys(), gene_keys(), domain)
    return sums.result()

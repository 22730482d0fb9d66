"""Domains: clusters of embeddings, smoothed over neighbours and named by their content."""

from __future__ import annotations

from stalign_core.domains.annotation import IGNORED_LABELS, distinct_labels, is_annotated
from stalign_core.domains.assigner import DomainAssigner
from stalign_core.domains.assignment import DomainAssignment, assign_domains
from stalign_core.domains.clustering import cluster
from stalign_core.domains.count import resolve_n_domains
from stalign_core.domains.numbering import domain_names
from stalign_core.domains.refinement import refine

__all__ = [
    "IGNORED_LABELS",
    "DomainAssigner",
    "DomainAssignment",
    "assign_domains",
    "cluster",
    "distinct_labels",
    "domain_names",
    "is_annotated",
    "refine",
    "resolve_n_domains",
]

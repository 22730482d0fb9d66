"""What domains mean: marker genes, abundance, pathway activity, and what of it holds across donors."""

from __future__ import annotations

from stalign_core.downstream.abundance import abundance_differences, domain_abundance
from stalign_core.downstream.activity import domain_activities, donor_activities
from stalign_core.downstream.markers import MarkerRules, find_markers, is_marker
from stalign_core.downstream.network import read_network
from stalign_core.downstream.profiles import DomainProfiles, ProfileSums, shared_profiles
from stalign_core.downstream.programs import marker_programs

__all__ = [
    "DomainProfiles",
    "MarkerRules",
    "ProfileSums",
    "abundance_differences",
    "domain_abundance",
    "domain_activities",
    "donor_activities",
    "find_markers",
    "is_marker",
    "marker_programs",
    "read_network",
    "shared_profiles",
]

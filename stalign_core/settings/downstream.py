"""Settings of what is made of domains: markers, programs, abundance, pathway activity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from stalign_core.settings.section import Section, Unit


class DownstreamSettings(Section):
    """What counts as a marker, and where the pathway network lies."""

    min_spots: PositiveInt = Field(10, description="spots that a domain, and the rest, must have in a donor to count")
    min_counts: PositiveInt = Field(10, description="counts that a gene must have over all donors")
    fdr: Unit = Field(
        0.05, description="false discovery rate up to which a gene is a marker, and a pathway's activity bears a star"
    )
    min_log2_fold_change: float = Field(0.5, ge=0, description="how much more of a marker its domain must have")
    conserved_share: Unit = Field(0.8, description="share of the donors from which a marker is 'conserved'")
    network: str | None = Field(
        None,
        description="CSV of pathways (source,target[,weight]), relative to the study: pathway activity is computed "
        "where one is named; nothing is ever downloaded",
    )
    activity_method: Literal["ulm", "mlm"] = Field("ulm", description="decoupler's univariate or multivariate model")
    min_targets: PositiveInt = Field(5, description="pathways with fewer targets among the genes are left out")

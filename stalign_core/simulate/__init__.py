"""Simulated cohorts: realistic enough to exercise every reader and step, with a truth to compare with."""

from __future__ import annotations

from stalign_core.simulate.cohort import simulate_cohort
from stalign_core.simulate.design import CohortDesign, ExpressionDesign, HistologyDesign, TissueDesign
from stalign_core.simulate.section import SimulatedSection, simulate_section, simulate_sections

__all__ = [
    "CohortDesign",
    "ExpressionDesign",
    "HistologyDesign",
    "SimulatedSection",
    "TissueDesign",
    "simulate_cohort",
    "simulate_section",
    "simulate_sections",
]

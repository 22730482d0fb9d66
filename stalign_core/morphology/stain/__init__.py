"""Stain normalisation: the colours of a slide brought to those of a fixed reference, slide by slide."""

from __future__ import annotations

from stalign_core.morphology.stain.fitting import StainNormaliser, fit_stain

__all__ = ["StainNormaliser", "fit_stain"]

"""Times in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A time in the unit that suits it: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def left_words(seconds: float) -> str:
    """``about 40 s left``."""
    return f"about {span(seconds)} left"

"""Words that messages share: counted things, times, and what a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_ALIKE: Final = 0.8
"""Of difflib's ratio: one letter of five may be wrong, or two may have changed places."""


def counted(number: int, noun: str) -> str:
    """``1 donor``, ``3 donors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def have(number: int) -> str:
    """The verb of a counted thing: 1 spot ``has``, 3 spots ``have``."""
    return "has" if number == 1 else "have"


def span(seconds: float) -> str:
    """A time in the unit that suits it: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def meant(name: str, known: Iterable[str]) -> str:
    """The known name that a misspelt one resembles most; empty where it resembles none."""
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)), "")

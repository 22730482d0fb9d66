"""Which level of a pyramid serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Level = TypeVar("Level")


def coarsest_level(
    levels: Sequence[Level], size_of: Callable[[Level], tuple[int, int]], longest_side: int | None
) -> Level:
    """The coarsest level that is large enough.

    Parameters
    ----------
    levels
        The finest first.
    size_of
        Width and height of a level, in pixels.
    longest_side
        Pixels that its longer side needs at least; None for the finest.
    """
    if longest_side is None:
        return levels[0]
    large_enough = [level for level in levels if max(size_of(level)) >= longest_side]
    return min(large_enough, key=lambda level: size_of(level)[0], default=levels[0])

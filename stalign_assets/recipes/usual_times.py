"""How long corrections take that count nothing while they are at work: said before they begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from stalign_core.wording import span

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Task

_A_MOMENT: Final = 2.0
_SECONDS: Final[Mapping[str, Callable[[int], float]]] = {
    "harmony": lambda n_spots: 50e-6 * n_spots,
    "scanorama": lambda n_spots: 14.0 * (n_spots / 14_000) ** 2,
}
"""Of two cores: Harmony took 48 s for a million spots, Scanorama 14 s for 14,364; its time grows with the square."""


def tell_usual_time(task: Task, method: str, n_spots: int) -> None:
    """Say about how long the correction of so many spots takes, where that is longer than a moment."""
    if method not in _SECONDS:
        return
    seconds = _SECONDS[method](n_spots)
    if seconds >= _A_MOMENT:
        task.say(f"{method} of {n_spots:,} spots takes about {span(seconds)} on two cores")

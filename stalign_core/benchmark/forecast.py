"""How long trials take: by what was measured in the same study, else by what two CPU cores took elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Final

MICROSECONDS_PER_SPOT: Final[Mapping[str, float]] = MappingProxyType(
    {
        "correction/uncorrected": 500.0,
        "correction/harmony": 400.0,
        "correction/scanorama": 2500.0,
        "correction/scvi": 35_000.0,
        "trial/alone": 1200.0,
        "trial/neighbors": 1200.0,
        "trial/aestetik": 2600.0,
        "trial/reference": 45_000.0,
    }
)
"""Of one computation with clustering and metrics; on 4,000 to 14,000 spots, with nothing else at work."""

MARGIN: Final = 2.0
"""Longest over expected: other programs, slower machines, trainings that stop late."""

START_SECONDS: Final = 60.0
"""Loading libraries, compiling metrics, figures."""


@dataclass(frozen=True)
class Work:
    """One computation to come."""

    kind: str
    n_spots: int


@dataclass(frozen=True)
class Forecast:
    """What a benchmark would compute and how long it would take, in seconds."""

    n_trials: int
    n_corrections: int
    n_reused: int
    expected: float
    longest: float

    def line(self) -> str:
        """For a reader."""
        if not self.n_trials and not self.n_corrections:
            return f"nothing to compute; {self.n_reused} trials are there"
        return (
            f"{self.n_trials} trials and {self.n_corrections} corrections to compute, {self.n_reused} trials there; "
            f"about {_minutes(self.expected)}, at most {_minutes(self.longest)}"
        )


def forecast(work: Iterable[Work], measured: Mapping[str, list[float]], n_reused: int) -> Forecast:
    """Add up what is to be computed.

    Parameters
    ----------
    work
        Distinct computations.
    measured
        Seconds per spot of earlier ones, by kind.
    n_reused
        Trials that are there.
    """
    items = list(work)
    seconds = sum(per_spot(item.kind, measured) * item.n_spots for item in items)
    n_trials = sum(item.kind.startswith("trial/") for item in items)
    start = START_SECONDS if items else 0.0
    return Forecast(n_trials, len(items) - n_trials, n_reused, seconds + start, MARGIN * (seconds + start))


def per_spot(kind: str, measured: Mapping[str, list[float]]) -> float:
    """Seconds per spot of one computation of this kind."""
    if measured.get(kind):
        return median(measured[kind])
    return MICROSECONDS_PER_SPOT[kind] / 1e6


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"

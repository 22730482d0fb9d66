"""How long trials take: by what the same machine took for their like, else by what another took and a short timing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stalign_core.benchmark.pace import Pace
from stalign_core.wording import span

if TYPE_CHECKING:
    from stalign_core.settings import Settings

WITH_SCIB: Final = "+scib"
"""Behind the kind of a trial of which scib-metrics' own total is taken."""

MICROSECONDS_PER_SPOT: Final[Mapping[str, float]] = MappingProxyType(
    {
        "correction/uncorrected": 400.0,
        "correction/sample_standardised": 400.0,
        "correction/harmony": 30.0,
        "correction/scanorama": 650.0,
        "trial/alone": 250.0,
        "trial/neighbors": 250.0,
    }
)
"""Processor time of one computation on the reference machine, with clustering and metrics; on 14,000 spots."""

OTHER_MICROSECONDS: Final = 650.0
"""Of a correction method that was added to the registry: as the slowest that no network is trained for."""

AESTETIK_MICROSECONDS_PER_EPOCH: Final = 10.0
REFERENCE_MICROSECONDS: Final = 45_000.0
SCVI_MICROSECONDS_PER_EPOCH: Final = 200.0
"""Per spot, beside what a trial of correction alone takes."""

SCVI_EPOCHS: Final = 50
"""After which early stopping usually ends a training."""

SCIB_SECONDS: Final = 9.5
"""Of scib-metrics' own total, which compiles most of its functions anew each time, on few spots and on many."""

START_SECONDS: Final = 10.0
"""Of each process: loading libraries, and compiling metrics for the shapes of its groups."""

SCIB_START_SECONDS: Final = 28.0
"""Besides, where scib-metrics' own total is taken: what it compiles once."""

FIGURE_SECONDS: Final = 8.0
"""Of tables, figures and the page, once all folds are done, beside the trials whose spots are shown."""

MARGIN: Final = 2.0
"""Longest over expected: programs that begin later, trainings that stop late."""


@dataclass(frozen=True)
class Work:
    """One computation to come.

    Attributes
    ----------
    kind, n_spots
        What, and on how many spots.
    fold
        That needs it first.
    chance
        That it is needed: two clusterers may choose the same settings.
    """

    kind: str
    n_spots: int
    fold: str = ""
    chance: float = 1.0


@dataclass(frozen=True)
class Costs:
    """Seconds per spot of each kind of computation.

    Attributes
    ----------
    settings
        Of the study: how many epochs networks are trained for.
    measured
        Processor seconds per spot of what this machine computed for the study, by kind.
    pace
        Of this machine now.
    """

    settings: Settings
    measured: Mapping[str, Sequence[float]] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    def seconds(self, work: Work) -> float:
        """Wall time of one computation."""
        found = self.measured.get(work.kind)
        if found:
            # Of few, the slowest compiled what the others found compiled.
            return median_low(found) * work.n_spots * self.pace.load
        kind = work.kind.removesuffix(WITH_SCIB)
        seconds = self._microseconds(kind) * work.n_spots / 1e6
        if kind != work.kind:
            seconds += SCIB_SECONDS
        return seconds * self.pace.slowness

    def start(self, *, with_scib: bool) -> float:
        """Wall time that a process takes beside its computations."""
        return (START_SECONDS + (SCIB_START_SECONDS if with_scib else 0.0)) * self.pace.slowness

    def _microseconds(self, kind: str) -> float:
        alone = MICROSECONDS_PER_SPOT["trial/alone"]
        if kind == "trial/aestetik":
            return alone + AESTETIK_MICROSECONDS_PER_EPOCH * self.settings.aestetik.epochs
        if kind == "trial/reference":
            return alone + REFERENCE_MICROSECONDS
        if kind == "correction/scvi":
            return SCVI_MICROSECONDS_PER_EPOCH * min(SCVI_EPOCHS, self.settings.correction.scvi.max_epochs)
        return MICROSECONDS_PER_SPOT.get(kind, OTHER_MICROSECONDS)


@dataclass(frozen=True)
class Forecast:
    """What a benchmark would compute and how long it would take, in seconds."""

    n_trials: int
    n_corrections: int
    n_reused: int
    expected: float
    longest: float
    at_once: int = 1

    def line(self) -> str:
        """For a reader."""
        if not self.n_trials and not self.n_corrections and self.expected:
            return (
                f"no trial to compute, {self.n_reused} are there; tables and figures take about "
                f"{span(self.expected)}, at most {span(self.longest)}"
            )
        if not self.n_trials and not self.n_corrections:
            return f"nothing to compute; {self.n_reused} trials are there"
        folds = f", {self.at_once} folds at once" if self.at_once > 1 else ""
        return (
            f"about {self.n_trials} trials and {self.n_corrections} corrections to compute, {self.n_reused} trials "
            f"there; about {span(self.expected)}, at most {span(self.longest)}{folds}"
        )


def forecast(
    work: Iterable[Work], costs: Costs, n_reused: int, at_once: int = 1, shown: Iterable[Work] | None = ()
) -> Forecast:
    """Add up what is to be computed.

    Parameters
    ----------
    work
        Distinct computations.
    costs
        What each takes.
    n_reused
        Trials that are there.
    at_once
        Folds that are computed at once, each in a process of its own.
    shown
        What figures compute again once all folds are done; None where tables and figures are there.
    """
    items = list(work)
    n_trials = sum(item.chance for item in items if item.kind.startswith("trial/"))
    n_corrections = sum(item.chance for item in items if not item.kind.startswith("trial/"))
    drawing = 0.0
    if shown is not None:
        drawing = FIGURE_SECONDS * costs.pace.slowness + sum(costs.seconds(item) for item in shown)
        drawing += 0.0 if items else costs.start(with_scib=False)
    expected, longest = (_wall(items, costs, at_once, certain=certain) + drawing for certain in (False, True))
    return Forecast(round(n_trials), round(n_corrections), n_reused, expected, MARGIN * longest, at_once)


def _wall(items: Sequence[Work], costs: Costs, at_once: int, *, certain: bool) -> float:
    """Time until the last fold's search is done; with `certain`, everything that may be needed is."""
    if not items:
        return 0.0
    folds: dict[str, float] = {}
    for item in items:
        seconds = costs.seconds(item) * (1.0 if certain else item.chance)
        folds[item.fold] = folds.get(item.fold, 0.0) + seconds
    start = costs.start(with_scib=any(item.kind.endswith(WITH_SCIB) for item in items))
    # In this process libraries are loaded and metrics compiled once for all folds.
    lanes = [0.0] * at_once if at_once > 1 else [start]
    for seconds in folds.values():
        soonest = lanes.index(min(lanes))
        lanes[soonest] += seconds + (start if at_once > 1 else 0.0)
    return max(lanes)

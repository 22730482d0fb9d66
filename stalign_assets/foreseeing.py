"""What a benchmark's searches would compute, and how long that would take on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.fold_limit import folds_at_once
from stalign_assets.machine import machine_name
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.recipes.benchmark.search import (
    ablation_trials,
    arms_of_study,
    folds_in,
    test_trials,
    tuning_trials,
)
from stalign_assets.recipes.benchmark.trials import CORRECTIONS, MACHINE, TRIALS, Bench
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import SPLITS
from stalign_assets.wanted import wanted
from stalign_core.benchmark.arms import candidates, default_parameters, grid_of
from stalign_core.benchmark.forecast import WITH_SCIB, Costs, Forecast, Work, forecast
from stalign_core.benchmark.grid import combinations
from stalign_core.benchmark.pace import Pace, measure_pace
from stalign_core.errors import StudyError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stalign_assets.recipes.benchmark.search import Fold
    from stalign_assets.study import Study
    from stalign_core.benchmark.arms import Arm, Trial

_TWO_CLUSTERERS: Final = 2


def foresee(study: Study) -> Forecast:
    """What the folds' searches would compute now, and how long.

    Which settings will be tested is not known before tuning: of an arm with several candidates a second choice, of
    the other clusterer, is counted by the chance that it differs if candidates were drawn at random.

    Raises
    ------
    StudyError
        If no folds were dealt.
    """
    recipes = recipes_of(study.settings)
    splits = study.store.current(SPLITS, UNPARTITIONED)
    if splits is None:
        raise StudyError("benchmark", f"needs {SPLITS}", remedy="materialise it")
    work: dict[Any, Work] = {}
    reused: set[Any] = set()
    n_folds = 0
    for fold in folds_in(splits.table("splits.parquet")):
        want = wanted(study, recipes, recipes[SEARCH], fold.name)
        if study.store.find(SEARCH, fold.name, want.input_key) is not None:
            continue
        n_folds += 1
        _Counted(study, Bench(study, want.inputs), fold, work, reused).add_fold()
    at_once = folds_at_once(study, n_folds)
    pace = measure_pace(at_once) if work else Pace()
    return forecast(work.values(), Costs(study.settings, measured(study), pace), len(reused), at_once)


class _Counted:
    def __init__(self, study: Study, bench: Bench, fold: Fold, work: dict[Any, Work], reused: set[Any]) -> None:
        self.settings, self.bench, self.fold = study.settings, bench, fold
        self.work, self.reused = work, reused

    def add_fold(self) -> None:
        """Everything of a fold's search."""
        for arm in arms_of_study(self.settings):
            tuning = tuning_trials(self.settings, arm) if self.fold.tuning else []
            self._add(self.fold.tuning, tuning)
            tried = candidates(arm, self.settings) if tuning else [default_parameters(arm, self.settings)]
            tested = test_trials(self.settings, arm, tried[0])
            if len(tried) == 1:
                self._add(self.fold.test, tested)
            else:
                self._add_unknown(arm, tested, 1 - 1 / len(tried))
        self._add(self.fold.test, ablation_trials(self.settings))

    def _add(self, groups: Mapping[str, list[str]], trials: Sequence[Trial]) -> None:
        """Trials whose settings are known."""
        for donors in groups.values():
            for trial in trials:
                place = self.bench.trial_place(donors, trial)
                if self.bench.is_there(place):
                    self.reused.add(place)
                    continue
                self._note(place, _kind_of_trial(trial.arm.model, trial.scib_spots), donors)
                correction = self.bench.correction_place(donors, trial)
                if not self.bench.is_there(correction):
                    self._note(correction, f"correction/{trial.arm.method}", donors)

    def _add_unknown(self, arm: Arm, trials: Sequence[Trial], differs: float) -> None:
        """Trials of settings that tuning will choose; the second choice is made with the chance that it differs."""
        of_method = len(combinations(grid_of(arm.method, self.settings.benchmark)))
        for donors in self.fold.test.values():
            for trial in trials:
                for number in range(_TWO_CLUSTERERS):
                    key = (self.fold.name, tuple(donors), arm, trial.seed, number)
                    kind = _kind_of_trial(arm.model, trial.scib_spots)
                    self._note(key, kind, donors, differs if number else 1.0)
                    # Without hyperparameters of its own a method has one correction per group and seed.
                    chosen = number if of_method > 1 else 0
                    place = (self.fold.name, tuple(donors), arm.method, trial.correction_seed, chosen)
                    chance = 1 - 1 / of_method if chosen else 1.0
                    self._note(place, f"correction/{arm.method}", donors, chance)

    def _note(self, key: Any, kind: str, donors: list[str], chance: float = 1.0) -> None:
        self.work.setdefault(key, Work(kind, self.bench.n_spots(donors), self.fold.name, chance))


def measured(study: Study) -> dict[str, list[float]]:
    """Processor seconds per spot of what this machine computed for the study, by kind; wall time where that is less."""
    found: dict[str, list[float]] = {}
    here = machine_name()
    for artifact in study.store.artifacts():
        manifest = artifact.manifest
        if manifest.asset == TRIALS:
            kind = _kind_of_trial(manifest.settings["arm"]["model"], manifest.settings["scib_spots"])
        elif manifest.asset == CORRECTIONS:
            kind = f"correction/{manifest.settings['method']}"
        else:
            continue
        if manifest.summary.get(MACHINE, here) == here:
            seconds = min(manifest.seconds, manifest.cpu_seconds)
            found.setdefault(kind, []).append(seconds / manifest.summary["n_spots"])
    return found


def _kind_of_trial(model: str, scib_spots: int) -> str:
    return f"trial/{model}{WITH_SCIB if scib_spots else ''}"

"""What a benchmark's searches would compute, and how long that would take on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.fold_limit import folds_at_once
from stalign_assets.machine import machine_name
from stalign_assets.recipes.benchmark.recipes import FIGURES, REPORT, RESULTS
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.recipes.benchmark.search import (
    ablation_trials,
    arms_of_study,
    choose,
    folds_in,
    test_trials,
    told,
    tuning_trials,
)
from stalign_assets.recipes.benchmark.trials import CORRECTIONS, MACHINE, TRIALS, Bench
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import SPLITS
from stalign_assets.wanted import MissingInputError, wanted
from stalign_core.benchmark.arms import candidates, default_parameters, grid_of
from stalign_core.benchmark.forecast import WITH_SCIB, Costs, Forecast, Work, forecast
from stalign_core.benchmark.grid import combinations
from stalign_core.benchmark.pace import Pace, measure_pace
from stalign_core.errors import ArtifactError, StudyError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stalign_assets.recipes.benchmark.search import Fold
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.benchmark.arms import Arm, Trial

_TWO_CLUSTERERS: Final = 2


def foresee(study: Study) -> Forecast:
    """What the folds' searches would compute now, and how long.

    Which settings will be tested is not known before tuning: of an arm with several candidates a second choice, of
    the other clusterer, is counted by the chance that it differs if candidates were drawn at random. Where an arm's
    tuning is all there, what it chose is known.

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
    shown: list[Work] = []
    tasks: set[str] = set()
    n_folds = 0
    for fold in folds_in(splits.table("splits.parquet")):
        want = wanted(study, recipes, recipes[SEARCH], fold.name)
        bench = Bench(study, want.inputs)
        if fold.task not in tasks:
            tasks.add(fold.task)
            shown += _shown(study, bench, fold)
        if study.store.find(SEARCH, fold.name, want.input_key) is not None:
            continue
        n_folds += 1
        _Counted(study, bench, fold, work, reused).add_fold()
    at_once = folds_at_once(study, n_folds)
    draws = bool(n_folds) or not all(_is_drawn(study, recipes, asset) for asset in (RESULTS, FIGURES))
    writes = draws or not _is_drawn(study, recipes, REPORT)
    pace = measure_pace(at_once) if writes else Pace()
    costs = Costs(study.settings, measured(study), pace)
    return forecast(work.values(), costs, len(reused), at_once, (shown if draws else ()) if writes else None)


def _is_drawn(study: Study, recipes: Mapping[str, Recipe], asset: str) -> bool:
    """Whether something that all folds say together is there as it should be now."""
    try:
        want = wanted(study, recipes, recipes[asset], UNPARTITIONED)
    except MissingInputError:
        return False
    return study.store.find(asset, UNPARTITIONED, want.input_key) is not None


def _shown(study: Study, bench: Bench, fold: Fold) -> Iterator[Work]:
    """What figures of single spots compute again, of a task's first fold: every method alone and with the model."""
    models = study.settings.benchmark.models
    if "alone" not in models or "aestetik" not in models:
        return
    donors = next(iter(fold.test.values()))
    for _ in study.settings.benchmark.methods:
        for model in ("alone", "aestetik"):
            yield Work(_kind_of_trial(model, 0), bench.n_spots(donors), fold.name)


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
            known = tried if len(tried) == 1 else self._chosen(arm, tuning)
            for parameters in known:
                self._add(self.fold.test, test_trials(self.settings, arm, parameters))
            if not known:
                self._add_unknown(arm, test_trials(self.settings, arm, tried[0]), 1 - 1 / len(tried))
        self._add(self.fold.test, ablation_trials(self.settings))

    def _chosen(self, arm: Arm, tuning: Sequence[Trial]) -> list[dict[str, Any]]:
        """Parameters that an arm's tuning chose; none where a trial of it is not there yet."""
        tables = []
        for group, donors in self.fold.tuning.items():
            for trial in tuning:
                place = self.bench.trial_place(donors, trial)
                try:
                    found = self.bench.study.store.find(place.asset, place.partition, place.input_key)
                    if found is None:
                        return []
                    metrics = found.table("metrics.parquet")
                except ArtifactError:
                    return []
                n_domains = self.bench.n_domains(donors)
                tables.append(told(metrics, place.input_key, self.fold, "tuning", group, donors, trial, n_domains))
        chosen = dict.fromkeys(choice["settings"] for choice in choose(self.settings, arm, tables))
        return [json.loads(settings) for settings in chosen]

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
        # One that does not say where it was computed says nothing of this machine.
        if manifest.summary.get(MACHINE) == here:
            seconds = min(manifest.seconds, manifest.cpu_seconds)
            found.setdefault(kind, []).append(seconds / manifest.summary["n_spots"])
    return found


def _kind_of_trial(model: str, scib_spots: int) -> str:
    return f"trial/{model}{WITH_SCIB if scib_spots else ''}"

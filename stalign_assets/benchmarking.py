"""The paper's study from a terminal: samples, folds, the search of each, tables, figures and one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.fold_limit import folds_at_once
from stalign_assets.folds import run_folds
from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import using_store
from stalign_assets.platform.executors.reach import reaching_cluster
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.pools import gpu_slots
from stalign_assets.recipes.benchmark.recipes import FIGURES, REPORT, RESULTS
from stalign_assets.recipes.benchmark.results import SEARCH, TABLES
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import SPLITS
from stalign_assets.report import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILURE
from stalign_assets.reporting import Console, Silent, Tally, attached
from stalign_assets.runs import RunOutcome, RunRequest, open_instance, prepare_instance, start_run
from stalign_assets.study import Study, open_study
from stalign_assets.wanted import folds_of, wanted
from stalign_core.errors import StalignError, StudyError
from stalign_core.files import replace_file
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Callable

    import dagster as dg

    from stalign_assets.recipes.benchmark.search import Fold
    from stalign_assets.recipes.benchmark.trials import Bench, Place
    from stalign_core.benchmark.arms import Trial
    from stalign_core.benchmark.forecast import Forecast, Work

FOLDER: Final = "benchmark"
PAGE: Final = "benchmark.html"


@dataclass
class Outcome:
    """What a benchmark did."""

    study: Study
    notes: list[str] = field(default_factory=list)
    forecast: Forecast | None = None
    bad_input: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 done, 1 a step failed, 2 bad input."""
        if self.failures:
            return EXIT_FAILURE
        return EXIT_BAD_INPUT if self.bad_input else EXIT_DONE

    def to_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "success": not self.bad_input and not self.failures,
            "notes": self.notes,
            "forecast": vars(self.forecast) if self.forecast else None,
            "errors": [*self.bad_input, *self.failures],
            "files": [str(path) for path in self.files],
            "figures_missing": self.missing,
        }


def run_benchmark(folder: Path, console: Console | None = None, *, dry_run: bool = False) -> Outcome:
    """Run the benchmark of a study, or with `dry_run` only say what it would compute and how long that would take.

    Samples are read and folds dealt in either case: what there is to compute depends on the labels.

    Raises
    ------
    StalignError
        If the study, its settings or its sample sheet cannot stand.
    """
    console = console or Silent()
    report = bring_up_to_date(Request(folder, scopes=()), console)
    outcome = Outcome(open_study(folder), bad_input=report.bad_input, failures=report.failures)
    if outcome.exit_code != EXIT_DONE:
        return outcome
    study = outcome.study
    with naming_full_disk(str(study.folder), "the benchmark could not go on"):
        tally = Tally(console)
        with attached(tally), using_store(study, console.step_said), open_instance(study) as instance:
            prepare_instance(instance, study)
            with reaching_cluster(study, console.step_said) as reached:
                _run(outcome, instance, tally, reached, dry_run)
    return outcome


def _run(
    outcome: Outcome, instance: dg.DagsterInstance, console: Console, reached: Callable[[], Study], dry_run: bool
) -> None:
    from stalign_assets.platform.partitions import register_folds

    def start(title: str, assets: list[str]) -> bool:
        console.title(title)
        return _kept(outcome, start_run(reached(), instance, RunRequest(assets, None), console), console)

    study = outcome.study
    if not start("benchmark: folds", [SPLITS]):
        return
    splits = study.store.current(SPLITS, UNPARTITIONED)
    assert splits is not None
    outcome.notes = list(splits.manifest.summary["notes"])
    folds = folds_of(study)
    register_folds(instance, folds)
    outcome.forecast = foresee(study)
    console.step_said(outcome.forecast.line())
    if dry_run:
        return
    # One fold's failure stops no other; what all say together needs every one.
    ended = [_kept(outcome, each, console) for each in _search(reached(), instance, folds, console)]
    if not all(ended):
        return
    if start("benchmark: results", [RESULTS, FIGURES, REPORT]):
        start("tables", [METRICS_TABLES])
        _write_files(outcome)


def _search(study: Study, instance: dg.DagsterInstance, folds: Sequence[str], console: Console) -> Iterable[RunOutcome]:
    """Run every fold: one after another in this process, or several at once in processes of their own."""
    at_once = folds_at_once(study, len(folds))
    if at_once > 1:
        console.step_said(f"{at_once} folds at once")
        # More than the pool's own limit are let in only where there is no GPU.
        with gpu_slots(instance, study.settings.execution, at_once):
            yield from run_folds(study, folds, at_once, console)
        return
    for fold in folds:
        console.title(f"benchmark: {fold}")
        yield start_run(study, instance, RunRequest([SEARCH], fold), console)


def _kept(outcome: Outcome, ended: RunOutcome, console: Console) -> bool:
    """Note why a run failed; whether it did not."""
    for fault in ended.faults:
        console.fault(fault.line)
        (outcome.bad_input if fault.by_user else outcome.failures).append(fault.line)
    if not ended.success and not ended.faults:
        outcome.failures.append(f"run {ended.run_id} failed; see it in the Dagster UI")
    return ended.success


def foresee(study: Study) -> Forecast:
    """What the folds' searches would compute now.

    Which settings will be tested is not known before tuning: of a tuned arm two are counted, one per clusterer.
    """
    from stalign_assets.recipes.benchmark.search import (
        ablation_trials,
        arms_of_study,
        folds_in,
        test_trials,
        tuning_trials,
    )
    from stalign_assets.recipes.benchmark.trials import Bench
    from stalign_core.benchmark.arms import default_parameters
    from stalign_core.benchmark.forecast import forecast

    recipes = recipes_of(study.settings)
    splits = study.store.current(SPLITS, UNPARTITIONED)
    if splits is None:
        raise StudyError("benchmark", f"needs {SPLITS}", remedy="materialise it")
    work: dict[Place | tuple[Any, ...], Work] = {}
    reused: set[Place] = set()
    for fold in folds_in(splits.table("splits.parquet")):
        want = wanted(study, recipes, recipes[SEARCH], fold.name)
        if study.store.find(SEARCH, fold.name, want.input_key) is not None:
            continue
        counted = _Counted(Bench(study, want.inputs), work, reused)
        for arm in arms_of_study(study.settings):
            tuning = tuning_trials(study.settings, arm) if fold.tuning else []
            counted.add(fold.tuning, tuning)
            tested = test_trials(study.settings, arm, default_parameters(arm, study.settings))
            if tuning:
                counted.add_unknown(fold, tested)
            else:
                counted.add(fold.test, tested)
        counted.add(fold.test, ablation_trials(study.settings))
    return forecast(work.values(), _measured(study), len(reused))


class _Counted:
    def __init__(self, bench: Bench, work: dict[Any, Work], reused: set[Any]) -> None:
        self.bench, self.work, self.reused = bench, work, reused

    def add(self, groups: Mapping[str, list[str]], trials: list[Trial]) -> None:
        """Trials whose settings are known."""
        for donors in groups.values():
            for trial in trials:
                place = self.bench.trial_place(donors, trial)
                if self.bench.is_there(place):
                    self.reused.add(place)
                    continue
                self._add(place, f"trial/{trial.arm.model}", donors)
                correction = self.bench.correction_place(donors, trial)
                if not self.bench.is_there(correction):
                    self._add(correction, f"correction/{trial.arm.method}", donors)

    def add_unknown(self, fold: Fold, trials: list[Trial]) -> None:
        """Trials of settings that tuning will choose."""
        for donors in fold.test.values():
            for trial in trials:
                for number in range(2):
                    key = (fold.name, tuple(donors), trial.arm, trial.seed, number)
                    self._add(key, f"trial/{trial.arm.model}", donors)
                correction = (fold.name, tuple(donors), trial.arm.method, trial.correction_seed)
                self._add(correction, f"correction/{trial.arm.method}", donors)

    def _add(self, key: Any, kind: str, donors: list[str]) -> None:
        from stalign_core.benchmark.forecast import Work

        self.work[key] = Work(kind, self.bench.n_spots(donors))


def _measured(study: Study) -> dict[str, list[float]]:
    """Seconds per spot of what the store holds, by kind."""
    from stalign_assets.recipes.benchmark.trials import CORRECTIONS, TRIALS

    found: dict[str, list[float]] = {}
    for artifact in study.store.artifacts():
        manifest = artifact.manifest
        if manifest.asset == TRIALS:
            kind = f"trial/{manifest.settings['arm']['model']}"
        elif manifest.asset == CORRECTIONS:
            kind = f"correction/{manifest.settings['method']}"
        else:
            continue
        found.setdefault(kind, []).append(manifest.seconds / manifest.summary["n_spots"])
    return found


def _write_files(outcome: Outcome) -> None:
    """Tables as CSV, pictures and the page, into the study's reports."""
    study = outcome.study
    folder = study.reports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    results, figures, report = (study.store.current(asset, UNPARTITIONED) for asset in (RESULTS, FIGURES, REPORT))
    assert results is not None and figures is not None and report is not None
    contents = {f"{name}.csv": results.table(f"{name}.parquet").to_csv(index=False).encode() for name in TABLES}
    contents |= {name: figures.bytes(name) for name in figures.names("*.png") if not name.endswith(".thumbnail.png")}
    contents[PAGE] = report.bytes(PAGE)
    for name, payload in contents.items():
        replace_file(folder / name, payload)
        outcome.files.append(folder / name)
    outcome.missing = figures.json("missing.json")


def results_tables(study: Study) -> dict[str, Any]:
    """Summary and differences of the benchmark in force.

    Raises
    ------
    StalignError
        If there is none.
    """
    results = study.store.current(RESULTS, UNPARTITIONED)
    if results is None:
        raise StalignError("benchmark", "was never run", remedy="run 'stalign benchmark STUDY'")
    return {name: results.table(f"{name}.parquet") for name in ("summary", "differences")}

"""The paper's study from a terminal: samples, folds, the search of each, tables, figures and one page."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.folds import run_folds
from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import using_store
from stalign_assets.platform.executors.reach import reaching_cluster
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.pools import gpu_slots
from stalign_assets.recipes.benchmark.recipes import FIGURES, REPORT, RESULTS
from stalign_assets.recipes.benchmark.results import SEARCH, TABLES
from stalign_assets.recipes.recipe import SPLITS
from stalign_assets.report import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILURE
from stalign_assets.reporting import Console, Silent, Tally, attached
from stalign_assets.runs import RunOutcome, RunRequest, open_instance, prepare_instance, start_run
from stalign_assets.study import Study, open_study
from stalign_assets.wanted import folds_of
from stalign_core.errors import StalignError
from stalign_core.files import replace_file
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Callable

    import dagster as dg

    from stalign_core.benchmark.forecast import Forecast

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
    seconds: float = 0.0
    """From the forecast to the end of what it is of: searches, tables, figures."""

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
            "seconds": round(self.seconds, 1),
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
    # What searches are made of takes seconds to import.
    from stalign_assets.foreseeing import foresee

    outcome.forecast = foresee(study)
    console.step_said(outcome.forecast.line())
    if dry_run:
        return
    began = time.monotonic()
    # One fold's failure stops no other; what all say together needs every one.
    ended = [
        _kept(outcome, each, console) for each in _search(reached(), instance, folds, outcome.forecast.at_once, console)
    ]
    if all(ended) and start("benchmark: results", [RESULTS, FIGURES, REPORT]):
        outcome.seconds = time.monotonic() - began
        start("tables", [METRICS_TABLES])
        _write_files(outcome)


def _search(
    study: Study, instance: dg.DagsterInstance, folds: Sequence[str], at_once: int, console: Console
) -> Iterable[RunOutcome]:
    """Run every fold: one after another in this process, or as many at once as foreseen in processes of their own."""
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

"""Bringing a study up to date from a terminal: donors first, each in a Dagster run, then the cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stalign_assets.cli.console import StepConsole
from stalign_assets.planning import assets_of_scope, plan
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.recipes.graph import SCOPES, recipes_of
from stalign_assets.results.headline import write_domain_tables
from stalign_assets.runs import RunOutcome, open_instance, prepare_instance, run_in_process, run_in_processes
from stalign_assets.settings_file import set_value
from stalign_assets.study import SETTINGS_FILE, Study, open_study
from stalign_assets.wanted import accepted_donors
from stalign_core.errors import SettingsError, StalignError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.recipes.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """What to bring up to date; empty `variants` or `donors` mean all."""

    study: Path
    scopes: tuple[str, ...] = SCOPES
    variants: tuple[str, ...] = ()
    donors: tuple[str, ...] = ()
    n_domains: int | str | None = None

    @classmethod
    def parse(
        cls,
        study: Path,
        *,
        scopes: str | None = None,
        variants: str | None = None,
        donors: str | None = None,
        n_domains: str | None = None,
    ) -> Self:
        """A request from the command's words."""
        return cls(
            study,
            _names(scopes) or SCOPES,
            _names(variants),
            _names(donors),
            int(n_domains) if n_domains is not None and n_domains.isdigit() else n_domains,
        )


@dataclass
class Report:
    """What was done."""

    study: Study
    n_computed: int = 0
    n_reused: int = 0
    n_up_to_date: int = 0
    bad_input: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    donors_left_out: Mapping[str, str] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether every step that was asked for has its artifact."""
        return not self.bad_input and not self.failures

    @property
    def exit_code(self) -> int:
        """0 done, 1 a step failed, 2 bad input."""
        if self.failures:
            return 1
        return 2 if self.bad_input else 0

    def lines(self) -> list[str]:
        """The report for a reader."""
        lines = [f"{self.n_computed} computed, {self.n_reused} reused, {self.n_up_to_date} up to date"]
        lines += [f"domains: {path}" for path in self.tables]
        lines += [f"donor {donor} was left out: {reason}" for donor, reason in self.donors_left_out.items()]
        lines += [f"error: {line}" for line in (*self.bad_input, *self.failures)]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The report for a program."""
        return {
            "success": self.success,
            "computed": self.n_computed,
            "reused": self.n_reused,
            "up_to_date": self.n_up_to_date,
            "donors_left_out": dict(self.donors_left_out),
            "errors": [*self.bad_input, *self.failures],
            "domains": [str(path) for path in self.tables],
        }


def bring_up_to_date(request: Request) -> Report:
    """Run what the request asks for and is not up to date.

    A donor that fails stops nothing of the other donors, but the cohort is not integrated without it: it fails, and
    says so. A donor whose samples fail a check is left out of the cohort, and named.

    Raises
    ------
    StalignError
        If the study, its settings or its sample sheet cannot stand.
    """
    if request.n_domains is not None:
        set_value(request.study / SETTINGS_FILE, "domains", "n_domains", request.n_domains)
    study = open_study(request.study)
    _check_names(request, study)
    with StepConsole() as console, open_instance(study) as instance:
        prepare_instance(instance, study)
        driver = _Driver(request, study, instance, console)
        driver.run()
        driver.report.n_computed, driver.report.n_reused = console.n_computed, console.n_reused
        return driver.report


class _Driver:
    def __init__(self, request: Request, study: Study, instance: dg.DagsterInstance, console: StepConsole) -> None:
        self.request = request
        self.study = study
        self.instance = instance
        self.console = console
        self.recipes: Mapping[str, Recipe] = recipes_of(study.settings)
        self.variants = request.variants or tuple(study.settings.variants)
        self.report = Report(study)

    def run(self) -> None:
        for donor in self.request.donors or self.study.cohort.donors:
            self._run_donor(donor)
        if self.report.success:
            self._run_cohort()
        if self.report.success:
            self.report.tables = write_domain_tables(self.study, self.request.scopes, self.variants)

    def _run_donor(self, donor: str) -> None:
        assets = assets_of_scope(self.recipes, "samples", self.variants)
        if "donor" in self.request.scopes:
            assets += assets_of_scope(self.recipes, "donor", self.variants)
        problems = self._verdict(donor)
        if problems is None and not self._has_work(assets, donor, f"donor {donor}"):
            return
        outcome = self._start(assets, donor)
        if not outcome.success:
            problems = self._verdict(donor)
            if problems is None:
                self._keep_faults(outcome)
            else:
                self.console.fault(f"donor {donor} is left out: {problems}")

    def _run_cohort(self) -> None:
        assets: list[str] = []
        if "cohort" in self.request.scopes:
            try:
                _, self.report.donors_left_out = accepted_donors(self.study)
            except StalignError as error:
                self.report.bad_input.append(error.line)
                return
            wanted_assets = assets_of_scope(self.recipes, "cohort", self.variants)
            if self._has_work(wanted_assets, UNPARTITIONED, "cohort"):
                assets = wanted_assets
        if not assets:
            self.console.title("tables")
        outcome = self._start([*assets, METRICS_TABLES], None)
        if not outcome.success:
            self._keep_faults(outcome)

    def _has_work(self, assets: Sequence[str], partition: str, title: str) -> bool:
        steps = plan(self.study, self.recipes, assets, partition)
        if any(step.has_work for step in steps):
            self.console.title(title)
            return True
        self.report.n_up_to_date += len(steps)
        self.console.title(f"{title}: {len(steps)} assets up to date, reused")
        return False

    def _verdict(self, donor: str) -> str | None:
        """Why the donor's samples fail their checks, or None if they pass or were never read."""
        raw = self.study.store.current("raw_samples", donor)
        problems = [] if raw is None else raw.manifest.summary.get("problems", [])
        return "; ".join(problems) or None

    def _start(self, assets: Sequence[str], partition: str | None) -> RunOutcome:
        if self.study.settings.execution.processes > 1:
            return run_in_processes(self.study, self.instance, assets, partition)
        return run_in_process(self.study, self.instance, assets, partition)

    def _keep_faults(self, outcome: RunOutcome) -> None:
        for fault in outcome.faults:
            self.console.fault(fault.line)
            (self.report.bad_input if fault.by_user else self.report.failures).append(fault.line)
        if not outcome.faults:
            self.report.failures.append(f"run {outcome.run_id} failed; see it in the Dagster UI")


def _names(words: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (words or "").split(",") if word.strip())


def _check_names(request: Request, study: Study) -> None:
    for kind, given, known in (
        ("--scopes", request.scopes, SCOPES),
        ("--variants", request.variants, tuple(study.settings.variants)),
        ("--donors", request.donors, study.cohort.donors),
    ):
        for name in given:
            if name not in known:
                raise SettingsError(kind, f"'{name}' is not known", expected="some of " + ", ".join(known))

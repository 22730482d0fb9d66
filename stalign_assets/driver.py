"""Bringing a study up to date from a terminal: donors first, each in a Dagster run, then the cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stalign_assets.cli.console import StepConsole
from stalign_assets.full_disk import naming_full_disk
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
        """A request from the command's words.

        Raises
        ------
        SettingsError
            If `n_domains` cannot be K.
        """
        return cls(study, _names(scopes) or SCOPES, _names(variants), _names(donors), _count(n_domains))


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
    study = open_study(request.study)
    _check_names(request, study)
    with naming_full_disk(str(study.folder), "the run could not go on"):
        return _bring_up_to_date(request, _with_n_domains(request, study))


def _with_n_domains(request: Request, study: Study) -> Study:
    """Keep the K that is asked for in the settings, unless spots that were read already rule it out."""
    if request.n_domains is None:
        return study
    if isinstance(request.n_domains, int):
        _check_n_domains(request.n_domains, request, study)
    set_value(study.folder / SETTINGS_FILE, "domains", "n_domains", request.n_domains)
    return open_study(request.study)


def _bring_up_to_date(request: Request, study: Study) -> Report:
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
        self.donors = request.donors or study.cohort.donors
        self.report = Report(study)

    def run(self) -> None:
        for donor in self.donors:
            self._run_donor(donor)
        if self.report.success:
            self._leave_out()
        if self.report.success:
            self._run_cohort()
        if self.report.success:
            told = tuple(donor for donor in self.study.cohort.donors if donor not in self.report.donors_left_out)
            self.report.tables = write_domain_tables(self.study, self.request.scopes, self.variants, told)

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
            # A verdict of an earlier run says nothing where the samples cannot be read now.
            if problems is None or any(fault.by_user for fault in outcome.faults):
                self._keep_faults(outcome)
            else:
                self.console.fault(f"donor {donor} is left out: {problems}")

    def _leave_out(self) -> None:
        """Name the donors whose samples fail their checks; that none is left is an error."""
        try:
            if "cohort" in self.request.scopes:
                _, self.report.donors_left_out = accepted_donors(self.study)
            else:
                _, self.report.donors_left_out = accepted_donors(self.study, self.donors)
        except StalignError as error:
            self.report.bad_input.append(error.line)

    def _run_cohort(self) -> None:
        assets: list[str] = []
        if "cohort" in self.request.scopes:
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
            kept = self.report.bad_input if fault.by_user else self.report.failures
            if fault.line not in kept:
                kept.append(fault.line)
        if not outcome.faults:
            self.report.failures.append(f"run {outcome.run_id} failed; see it in the Dagster UI")


def _names(words: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (words or "").split(",") if word.strip())


def _count(words: str | None) -> int | str | None:
    """K as the command's words give it."""
    if words is None or words == "annotation":
        return words
    if words.isascii() and words.isdigit() and int(words) > 0:
        return int(words)
    raise SettingsError("--n-domains", f"is '{words}'", expected="a whole number above 0, or 'annotation'")


def _check_n_domains(n_domains: int, request: Request, study: Study) -> None:
    """Refuse a K that exceeds the spots of a donor, or of all donors, as far as they were read already."""
    from stalign_core.domains.count import check_n_domains

    read = {donor: study.store.current("raw_samples", donor) for donor in study.cohort.donors}
    spots = {donor: raw.manifest.summary["n_spots"] for donor, raw in read.items() if raw is not None}
    if "donor" in request.scopes:
        for donor in request.donors or tuple(spots):
            if donor in spots:
                check_n_domains(n_domains, spots[donor], partition=donor)
    if "cohort" in request.scopes and len(spots) == len(read):
        check_n_domains(n_domains, sum(spots.values()), partition="cohort")


def _check_names(request: Request, study: Study) -> None:
    for kind, given, known in (
        ("--scopes", request.scopes, SCOPES),
        ("--variants", request.variants, tuple(study.settings.variants)),
        ("--donors", request.donors, study.cohort.donors),
    ):
        for name in given:
            if name not in known:
                raise SettingsError(kind, f"'{name}' is not known", expected="some of " + ", ".join(known))

"""Bringing a study up to date from a terminal: donors first, each in a Dagster run, then the cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from stalign_assets.choosing import assets_before_k, choose_from_store, deciding_variant
from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import using_store
from stalign_assets.planning import assets_of_scope, is_stale, plan, plan_by_keys
from stalign_assets.platform.executors.reach import reaching_cluster
from stalign_assets.platform.report_assets import COHORT_REPORT
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.recipes.graph import SCOPES, recipes_of
from stalign_assets.recipes.samples import RAW
from stalign_assets.report import Report
from stalign_assets.reporting import Console, Silent, Tally, attached
from stalign_assets.results.headline import write_domain_tables
from stalign_assets.runs import RunFault, RunOutcome, RunRequest, open_instance, prepare_instance, start_run
from stalign_assets.settings_file import set_value
from stalign_assets.study import SETTINGS_FILE, Study, open_study
from stalign_assets.wanted import accepted_donors
from stalign_core.errors import ArtifactError, SettingsError, StalignError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.recipes.recipe import Recipe
    from stalign_core.store import Artifact

AUTO: Final = "auto"
"""K that is chosen from the data, and then kept in the settings as the number that it is."""


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


def bring_up_to_date(request: Request, console: Console | None = None) -> Report:
    """Run what the request asks for and is not up to date, and show it on `console`.

    A donor or variant that fails stops nothing of the others. A donor whose samples fail a check, or cannot be read,
    is left out of the cohort, and named. Where samples failed for another reason, such as missing weights or a full
    disk, or are not up to date, the cohort is not integrated: it says so.

    Raises
    ------
    StalignError
        If the study, its settings or its sample sheet cannot stand.
    """
    study = open_study(request.study)
    _check_names(request, study)
    _check_encoders(request, study)
    with naming_full_disk(str(study.folder), "the run could not go on"):
        return _bring_up_to_date(request, _with_n_domains(request, study), console or Silent())


def _with_n_domains(request: Request, study: Study) -> Study:
    """Keep the K that is asked for in the settings, unless spots that were read already rule it out."""
    if request.n_domains is None:
        return study
    if isinstance(study.settings.domains.n_domains, dict):
        raise SettingsError(
            "--n-domains",
            f"would replace the table domains.n_domains of {SETTINGS_FILE}",
            remedy="change K in the table itself",
        )
    if request.n_domains == AUTO:
        _check_auto(request)
        return study
    if isinstance(request.n_domains, int):
        _check_n_domains(request.n_domains, request, study)
    set_value(study.folder / SETTINGS_FILE, "domains", "n_domains", request.n_domains)
    return open_study(request.study)


def _bring_up_to_date(request: Request, study: Study, console: Console) -> Report:
    tally = Tally(console)
    with attached(tally), using_store(study, console.step_said), open_instance(study) as instance:
        prepare_instance(instance, study)
        with reaching_cluster(study, console.step_said) as reached:
            driver = _Driver(request, study, instance, tally, reached)
            driver.run()
        driver.study.held.save()
        driver.report.n_computed, driver.report.n_reused = tally.n_computed, tally.n_reused
        return driver.report


class _Driver:
    def __init__(
        self,
        request: Request,
        study: Study,
        instance: dg.DagsterInstance,
        console: Console,
        reached: Callable[[], Study],
    ) -> None:
        self.request = request
        self.study = study
        self.reached = reached
        self.instance = instance
        self.console = console
        self.recipes: Mapping[str, Recipe] = recipes_of(study.settings)
        self.variants = request.variants or tuple(study.settings.variants)
        self.donors = request.donors or study.cohort.donors
        self.samples = assets_of_scope(self.recipes, "samples", self.variants)
        self.donors_at_fault: list[str] = []
        self.report = Report(study, request.study)

    def run(self) -> None:
        if self.request.n_domains == AUTO and not self._choose_n_domains():
            return
        for donor in self.donors:
            self._run_donor(donor)
        if "cohort" in self.request.scopes:
            self._run_cohort()
        elif not self.donors_at_fault:
            self._leave_out(self.donors)
        if self._has_metrics():
            self._run_tables()
        told = tuple(donor for donor in self.study.cohort.donors if self._verdict(donor) is None)
        self.report.tables = write_domain_tables(self.study, self.request.scopes, self.variants, told)

    def _choose_n_domains(self) -> bool:
        """Make what K is chosen by, and keep the chosen K in the settings; whether that succeeded."""
        variant = deciding_variant(self.study, self.variants)
        before = [(self.samples, donor) for donor in self.study.cohort.donors]
        for assets, donor in [*before, (assets_before_k(self.recipes, variant), None)]:
            if donor is None and not self._leave_out(self.study.cohort.donors):
                return False
            if self._has_work(assets, donor or UNPARTITIONED, f"donor {donor}" if donor else "cohort, before K"):
                outcome = self._start(assets, donor)
                is_left_out = donor is not None and (self._verdict(donor) is not None or self._is_refused(donor))
                if not outcome.success and not is_left_out:
                    self._keep_faults(outcome)
        if not self.report.success:
            return False
        self.console.title(f"choosing K by the features of {variant}")
        choice = choose_from_store(self.study, variant, self.console.step_progress)
        for number, stability in choice.stability.items():
            mark = "  <- chosen" if number == choice.n_domains else ""
            self.console.step_said(f"{number} domains: halves agree by {stability:.3f}{mark}")
        set_value(self.study.folder / SETTINGS_FILE, "domains", "n_domains", choice.n_domains)
        self.study = open_study(self.request.study)
        self.recipes = recipes_of(self.study.settings)
        self.report.study = self.study
        return True

    def _run_donor(self, donor: str) -> None:
        assets = self.samples
        if "donor" in self.request.scopes:
            assets = assets + assets_of_scope(self.recipes, "donor", self.variants)
        problems = self._verdict(donor)
        if problems is None and not self._has_work(assets, donor, f"donor {donor}"):
            return
        outcome = self._start(assets, donor)
        if outcome.success:
            return
        problems = self._verdict(donor)
        # A verdict of an earlier run says nothing where the samples cannot be read now.
        if problems is not None and not any(fault.by_user for fault in outcome.faults):
            self.console.fault(f"donor {donor} is left out: {problems}")
            return
        self._keep_faults(outcome)
        of_samples = not outcome.faults or any(_of_samples(fault) for fault in outcome.faults)
        if of_samples and not self._is_refused(donor):
            self.donors_at_fault.append(donor)

    def _run_cohort(self) -> None:
        if self.donors_at_fault:
            self.console.title(f"cohort: not integrated without {', '.join(self.donors_at_fault)}")
            return
        stale = [donor for donor in self.study.cohort.donors if donor not in self.donors and self._is_stale(donor)]
        if stale:
            self.report.bad_input.append(
                f"cohort: samples of {', '.join(stale)} are not up to date; "
                f"run 'stalign run {self.request.study} --donors {','.join(stale)}' first, or all donors"
            )
            return
        if not self._leave_out(self.study.cohort.donors):
            return
        assets = assets_of_scope(self.recipes, "cohort", self.variants)
        if self._has_work(assets, UNPARTITIONED, "cohort"):
            outcome = self._start(assets, None)
            if not outcome.success:
                self._keep_faults(outcome)

    def _run_tables(self) -> None:
        """Rebuild tables and reports in a run of their own: one that fails above takes no other's results with it."""
        self.console.title("tables and reports")
        outcome = self._start([METRICS_TABLES, COHORT_REPORT], None)
        if not outcome.success:
            self._keep_faults(outcome)

    def _leave_out(self, donors: tuple[str, ...]) -> bool:
        """Name the donors whose samples fail their checks; that none is left is an error."""
        try:
            _, self.report.donors_left_out = accepted_donors(self.study, self.recipes, donors)
        except StalignError as error:
            # Where runs above have told why, "no donor is left" adds nothing.
            if self.report.success:
                self.report.bad_input.append(error.line)
            return False
        return True

    def _is_stale(self, donor: str) -> bool:
        """Whether samples of a donor have work to do, other than work that its checks or its files forbid."""
        steps = plan(self.study, self.recipes, self.samples, donor)
        return is_stale(steps, fails_checks=self._verdict(donor) is not None)

    def _is_refused(self, donor: str) -> bool:
        """Whether something cannot be made of the donor's files, so that the cohort goes on without it."""
        steps = plan_by_keys(self.study, self.recipes, self.samples, donor)
        return any(step.state == "refused" for step in steps)

    def _has_metrics(self) -> bool:
        """Whether there is anything that tables could tell."""
        places = (
            (asset, partition)
            for asset, recipe in self.recipes.items()
            if recipe.variant is not None and recipe.path[-1] == "metrics"
            for partition in (self.study.cohort.donors if recipe.partitioning == "donor" else (UNPARTITIONED,))
        )
        return any(_current(self.study, asset, partition) is not None for asset, partition in places)

    def _has_work(self, assets: Sequence[str], partition: str, title: str) -> bool:
        steps = plan(self.study, self.recipes, assets, partition)
        n_to_do = sum(step.has_work for step in steps)
        if n_to_do:
            self.console.title(f"{title}: {n_to_do} of {len(steps)} assets to make")
            return True
        self.report.n_up_to_date += len(steps)
        self.console.title(f"{title}: {len(steps)} assets up to date, reused")
        return False

    def _verdict(self, donor: str) -> str | None:
        """Why the donor's samples fail their checks, or None if they pass or were never read."""
        raw = _current(self.study, RAW, donor)
        problems = [] if raw is None else raw.manifest.summary.get("problems", [])
        return "; ".join(problems) or None

    def _start(self, assets: Sequence[str], partition: str | None) -> RunOutcome:
        return start_run(self.reached(), self.instance, RunRequest(assets, partition), self.console)

    def _keep_faults(self, outcome: RunOutcome) -> None:
        for fault in outcome.faults:
            self.console.fault(fault.line)
            kept = self.report.bad_input if fault.by_user else self.report.failures
            if fault.line not in kept:
                kept.append(fault.line)
        if not outcome.faults:
            self.report.failures.append(f"run {outcome.run_id} failed; see it in the Dagster UI")


def _current(study: Study, asset: str, partition: str) -> Artifact | None:
    """The artifact in force; a damaged one is as good as none, and the run that reads it says so."""
    try:
        return study.store.current(asset, partition)
    except ArtifactError:
        return None


def _of_samples(fault: RunFault) -> bool:
    """Whether a failed step, or check, is one that the cohort reads, and not of the donor's own scope."""
    return not fault.step.startswith("donor__")


def _names(words: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (words or "").split(",") if word.strip())


def _count(words: str | None) -> int | str | None:
    """K as the command's words give it."""
    if words is None or words in ("annotation", AUTO):
        return words
    if words.isascii() and words.isdigit() and int(words) > 0:
        return int(words)
    raise SettingsError("--n-domains", f"is '{words}'", expected="a whole number above 0, 'annotation' or 'auto'")


def _check_auto(request: Request) -> None:
    if "cohort" not in request.scopes:
        raise SettingsError(
            "--n-domains",
            "is 'auto', which is chosen for the cohort",
            expected="'cohort' among --scopes",
            remedy="give a number",
        )


def _check_n_domains(n_domains: int, request: Request, study: Study) -> None:
    """Refuse a K that exceeds the spots of a donor, or of all donors, as far as they were read already."""
    from stalign_core.domains.count import check_n_domains

    read = {donor: _current(study, RAW, donor) for donor in study.cohort.donors}
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


def _check_encoders(request: Request, study: Study) -> None:
    """Find a misspelt timm model before anything is read: timm, which the run loads anyway, knows the names."""
    from stalign_core.morphology.encoders import record_of

    for variant in request.variants or tuple(study.settings.variants):
        encoder = study.settings.variants[variant].encoder
        record_of(study.settings.encoders[encoder].model, f"{study.folder / SETTINGS_FILE}, encoders.{encoder}.model")

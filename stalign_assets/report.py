"""What a run did, for a reader and for a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stalign_assets.study import COHORT_PAGE, METRICS_FILE, REPORTS_FOLDER, Study

EXIT_DONE: Final = 0
EXIT_FAILURE: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_LEFT_OUT: Final = 3


@dataclass
class Report:
    """What was done; `given` is the study's folder as the user named it."""

    study: Study
    given: Path
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
        """0 done, 1 a step failed, 2 bad input, 3 done with donors left out."""
        if self.failures:
            return EXIT_FAILURE
        if self.bad_input:
            return EXIT_BAD_INPUT
        return EXIT_LEFT_OUT if self.donors_left_out else EXIT_DONE

    def lines(self) -> list[str]:
        """The report for a reader: what was done, where it lies, and last what went wrong."""
        lines = [f"{self.n_computed} computed, {self.n_reused} reused, {self.n_up_to_date} up to date"]
        return lines + self._places() + self.problems()

    def problems(self) -> list[str]:
        """Who was left out, and what went wrong."""
        lines = [f"donor {donor} was left out: {reason}" for donor, reason in self.donors_left_out.items()]
        lines += [f"error: {line}" for line in (*self.bad_input, *self.failures)]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The report for a program."""
        page = self.study.reports / COHORT_PAGE
        return {
            "success": self.success,
            "computed": self.n_computed,
            "reused": self.n_reused,
            "up_to_date": self.n_up_to_date,
            "donors_left_out": dict(self.donors_left_out),
            "errors": [*self.bad_input, *self.failures],
            "domains": [str(path) for path in self.tables],
            "report": str(page) if page.is_file() else None,
        }

    def _places(self) -> list[str]:
        lines = []
        if (self.study.reports / COHORT_PAGE).is_file():
            lines.append(f"report: {self.given / REPORTS_FOLDER / COHORT_PAGE}")
        if self.tables:
            lines.append(f"domains: {self.given / REPORTS_FOLDER}/domains_*.csv ({len(self.tables)} tables)")
        if self.study.metrics_path.is_file():
            lines.append(f"metrics: {self.given / METRICS_FILE}, shown by: stalign metrics {self.given}")
        return [*lines, f"artifacts: {self.study.store.base}", f"lineage and pictures: stalign ui {self.given}"]

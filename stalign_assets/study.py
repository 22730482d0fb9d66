"""A study on disk: settings, sample sheet, store, DAGSTER_HOME."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_core.cohort import Cohort, Sample, read_sheet_text
from stalign_core.errors import SettingsError, StudyError
from stalign_core.settings import Settings, parse_settings, read_settings
from stalign_core.store import Store
from stalign_core.store.fingerprints import Fingerprints
from stalign_core.store.hashing import digest
from stalign_core.store.held import HeldArtifacts

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_FILE: Final = "study.toml"
SHEET_FILE: Final = "samples.csv"
DAGSTER_FOLDER: Final = "dagster"
REPORTS_FOLDER: Final = "reports"
COHORT_PAGE: Final = "cohort.html"
METRICS_FILE: Final = "metrics.duckdb"
CACHE_FOLDER: Final = "cache"
RUN_SETTINGS_FOLDER: Final = "run_settings"
"""Of the Dagster folder: the settings that each run began with."""
UNFINISHED_FOLDER: Final = "unfinished"
"""Of the cache: work that a killed computation can go on with."""
STUDY_VARIABLE: Final = "STALIGN_STUDY"


@dataclass(frozen=True)
class Study:
    """A study folder whose settings and sample sheet were read once."""

    folder: Path
    settings: Settings
    cohort: Cohort

    @cached_property
    def store(self) -> Store:
        """The artifacts of the study."""
        base = self.settings.store
        try:
            if "://" not in base:
                return Store(self.folder / base, cache=self.folder / CACHE_FOLDER)
            remote = self.settings.remote_store
            return Store(
                base,
                cache=self.folder / CACHE_FOLDER,
                options=remote.options,
                cache_bytes=int(remote.cache_gib * 2**30),
            )
        except (ValueError, ImportError, TypeError) as error:
            raise SettingsError(
                f"{self.folder / SETTINGS_FILE}, store",
                f"is '{base}', which cannot be opened ({error})",
                expected="a folder, or a URL of a filesystem that fsspec knows",
            ) from None

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Remembered hashes of raw files."""
        return Fingerprints(self.folder / DAGSTER_FOLDER / "fingerprints.json")

    @cached_property
    def held(self) -> HeldArtifacts:
        """Remembered verifications of artifacts."""
        return HeldArtifacts(self.folder / DAGSTER_FOLDER / "held.json")

    @cached_property
    def settings_hash(self) -> str:
        """Hash of every setting."""
        return digest(self.settings.model_dump(mode="json"))

    @property
    def metrics_path(self) -> Path:
        """The DuckDB file of the metrics tables."""
        return self.folder / METRICS_FILE

    @property
    def reports(self) -> Path:
        """Folder of tables and pictures for people."""
        return self.folder / REPORTS_FOLDER

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of the study."""
        return self.folder / DAGSTER_FOLDER


def open_study(folder: Path) -> Study:
    """Read and validate a study's settings and the text of its sample sheet.

    Raw files are not looked for: those of one donor hold up no other, and what is stored can be told without any.

    Raises
    ------
    StudyError
        If the folder is no study.
    SettingsError, SampleSheetError
        If a file of it cannot stand.
    """
    settings = settings_of_study(folder)
    cohort = read_sheet_text(folder / SHEET_FILE)
    _check_donors_of_table(settings, cohort, folder)
    return Study(folder.resolve(), settings, cohort)


def settings_of_study(folder: Path) -> Settings:
    """The settings of a study, without its sample sheet."""
    if not folder.is_dir():
        raise StudyError(str(folder), "is not a folder", remedy="make a study with 'stalign init STUDY --samples CSV'")
    if not (folder / SETTINGS_FILE).is_file():
        raise StudyError(
            str(folder), f"holds no {SETTINGS_FILE}", remedy="make a study with 'stalign init STUDY --samples CSV'"
        )
    return read_settings(folder / SETTINGS_FILE)


def _check_donors_of_table(settings: Settings, cohort: Cohort, folder: Path) -> None:
    """A name in the table of K that no donor has would leave that donor's K to its labels, unnoticed."""
    table = settings.domains.n_domains
    known = (*cohort.donors, *cohort.retired_donors, "cohort")
    for name in table if isinstance(table, dict) else ():
        if name not in known:
            raise SettingsError(
                f"{folder / SETTINGS_FILE}, domains.n_domains.{name}",
                f"names no donor of {SHEET_FILE}",
                expected="one of " + ", ".join(known),
            )


def study_of_run(folder: Path, run_id: str) -> Study:
    """The study as it stood when the run began: every step of a run sees the same settings and samples.

    The first step of a run keeps a snapshot; whichever process links it first wins, and all read that one.
    """
    snapshot = folder / DAGSTER_FOLDER / RUN_SETTINGS_FOLDER / f"{run_id}.json"
    if not snapshot.is_file():
        study = open_study(folder)
        _keep_snapshot(snapshot, study)
    try:
        table = json.loads(snapshot.read_text(encoding="utf-8"))
        settings = parse_settings(table["settings"], where=str(folder / SETTINGS_FILE))
        cohort = _cohort_from_table(table["cohort"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(str(snapshot), "is not a whole snapshot", remedy="start a new run") from None
    return Study(folder.resolve(), settings, cohort)


def study_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder that STALIGN_STUDY names.

    Raises
    ------
    StudyError
        If the variable is unset.
    """
    folder = (os.environ if environment is None else environment).get(STUDY_VARIABLE, "")
    if not folder:
        raise StudyError(
            STUDY_VARIABLE,
            "is not set, so no study is open",
            remedy="start the server with 'stalign ui STUDY', or set it to a study folder",
        )
    return Path(folder)


def _keep_snapshot(snapshot: Path, study: Study) -> None:
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    temporary = snapshot.with_name(f".{snapshot.name}.{uuid.uuid4().hex}")
    temporary.write_text(
        json.dumps({"settings": study.settings.model_dump(mode="json"), "cohort": _cohort_to_table(study.cohort)}),
        encoding="utf-8",
    )
    try:
        os.link(temporary, snapshot)
    except FileExistsError:
        pass
    except OSError:
        temporary.replace(snapshot)
    finally:
        temporary.unlink(missing_ok=True)


def _cohort_to_table(cohort: Cohort) -> dict[str, Any]:
    return {
        "sheet": str(cohort.sheet),
        "samples": [_sample_to_row(sample) for sample in cohort.samples],
        "retired": [_sample_to_row(sample) for sample in cohort.retired],
    }


def _sample_to_row(sample: Sample) -> dict[str, Any]:
    return {
        field.name: str(value) if isinstance(value, Path) else value
        for field in fields(sample)
        if (value := getattr(sample, field.name)) is not None
    }


def _cohort_from_table(table: dict[str, Any]) -> Cohort:
    samples, retired = (tuple(map(_sample_from_row, rows)) for rows in (table["samples"], table.get("retired", [])))
    return Cohort(Path(table["sheet"]), samples, retired)


def _sample_from_row(row: dict[str, Any]) -> Sample:
    paths = ("path", "image", "annotation", "sheet")
    cells: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in row.items()}
    return Sample(**cells)

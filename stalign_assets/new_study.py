"""Making a study folder."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Final

from stalign_assets.settings_file import settings_text
from stalign_assets.study import DAGSTER_FOLDER, REPORTS_FOLDER, SETTINGS_FILE, SHEET_FILE, Study, open_study
from stalign_core.cohort import ANNOTATION, IMAGE, PATH, REQUIRED_COLUMNS, located, read_sample_sheet
from stalign_core.errors import SampleSheetError, StudyError
from stalign_core.files import replace_file
from stalign_core.readers.csv_table import read_csv_table
from stalign_core.settings import Settings

_PATH_COLUMNS: Final = (PATH, IMAGE, ANNOTATION)

_DAGSTER_YAML: Final = """\
# Patients' data: nothing leaves this machine unasked.
telemetry:
  enabled: false
nux:
  enabled: false
# A pool without a limit of its own lets one step at a time in; the limit of pool 'gpu' follows study.toml.
# Of the runs that nobody asked for by hand, one is at work at a time.
concurrency:
  runs:
    tag_concurrency_limits:
      - key: stalign/unattended
        limit: 1
  pools:
    default_limit: 1
    granularity: op
# Slots of a killed run are freed, and a run whose process is gone does not stay 'started' for ever: a week is the
# most that a run may last, and unattended ones as long as study.toml says.
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 60
  max_runtime_seconds: 604800
  poll_interval_seconds: 60
run_retries:
  enabled: true
  retry_on_asset_or_op_failure: false
"""


def create_study(folder: Path, sheet: Path, settings: Settings | None = None) -> Study:
    """Make a study folder for the samples of a sheet; the paths in its copy of the sheet lead to the same files.

    ``study.toml`` is written last: a folder without it is no study, so an interrupted call can be repeated.

    Raises
    ------
    StudyError
        If the folder is a study already, or is a file.
    SampleSheetError
        If the sheet cannot stand.
    """
    cohort = read_sample_sheet(sheet)
    if (folder / SETTINGS_FILE).exists():
        raise StudyError(str(folder), "is a study already", remedy="choose another folder, or run 'stalign run' on it")
    if folder.exists() and not folder.is_dir():
        raise StudyError(str(folder), "is a file", expected="a folder that may be made")
    try:
        for name in (DAGSTER_FOLDER, REPORTS_FOLDER):
            (folder / name).mkdir(parents=True, exist_ok=True)
        replace_file(folder / DAGSTER_FOLDER / "dagster.yaml", _DAGSTER_YAML)
        replace_file(folder / SHEET_FILE, _moved_sheet(cohort.sheet, folder))
        replace_file(folder / SETTINGS_FILE, settings_text(settings or Settings()))
    except OSError as error:
        raise StudyError(
            str(folder),
            f"cannot be written ({error.strerror})",
            remedy="choose a folder that you may write, on a disk with room",
        ) from None
    return open_study(folder)


def _moved_sheet(sheet: Path, folder: Path) -> str:
    """The sheet's text with its paths made relative to `folder`."""
    table = read_csv_table(sheet, REQUIRED_COLUMNS, SampleSheetError)
    target = io.StringIO()
    writer = csv.DictWriter(target, table.columns, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        cells = dict(row.cells)
        for column in _PATH_COLUMNS:
            if cells.get(column):
                absolute = located(sheet.parent / cells[column])
                cells[column] = os.path.relpath(absolute, folder.resolve())
        writer.writerow(cells)
    return target.getvalue()

"""The sample sheet: which sections a study holds, of which donors, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stalign_core import keys
from stalign_core.errors import InputDataError, SampleSheetError
from stalign_core.images.facts import is_zarr_group
from stalign_core.naming import NAME_RULE, is_safe_name
from stalign_core.readers.csv_table import CsvRow, read_csv_table
from stalign_core.readers.layout import locate_section
from stalign_core.wording import meant

PATH = "path"
IMAGE = "image"
ANNOTATION = "annotation"
REQUIRED_COLUMNS = (keys.SAMPLE, keys.DONOR, PATH)
BIN = "bin"
TABLE = "table"
RETIRED = "retired"
CONDITION = "condition"
OPTIONAL_COLUMNS = (IMAGE, ANNOTATION, BIN, TABLE, RETIRED, CONDITION)

RETIREMENT = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}
"""What a cell of the column `retired` may say, in any case of letters, and whether the sample is retired by it."""

RESERVED_DONORS = frozenset({"cohort"})
"""Names that stand for all donors together and so can be no donor's own."""

# Bytes that Linux takes, the most of all systems.
_LONGEST_PATH = 4096
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Sample:
    """One row of a sample sheet: a tissue section.

    Parameters
    ----------
    sample, donor
        Safe names.
    path
        A Space Ranger folder, an .h5ad file or a SpatialData .zarr.
    image, annotation
        The full-resolution image and the labels, where the sheet names them.
    extra
        The sheet's further columns.
    row
        The line of the sheet that it stands on; the header is line 1.
    sheet
        The sample sheet.
    bin
        Which bins of a Visium HD run, such as ``008um``; empty: ``stalign_core.readers.layout.DEFAULT_BIN``.
    table
        Which table of a .zarr; may be empty where it has one.
    condition
        What the sample stands for in comparisons of domain abundance, such as ``treated``; empty: it takes no part.
    """

    sample: str
    donor: str
    path: Path
    image: Path | None = None
    annotation: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    row: int = 0
    sheet: Path = Path()
    bin: str = ""
    table: str = ""
    condition: str = ""


@dataclass(frozen=True)
class Cohort:
    """All donors of a study: the samples in the order of their sheet.

    `retired` are the rows that the sheet keeps, but that take no part in anything.
    """

    sheet: Path
    samples: tuple[Sample, ...]
    retired: tuple[Sample, ...] = ()

    @property
    def donors(self) -> tuple[str, ...]:
        """Every donor once, sorted."""
        return tuple(sorted({sample.donor for sample in self.samples}))

    @property
    def retired_donors(self) -> tuple[str, ...]:
        """Donors of which every sample is retired, sorted."""
        return tuple(sorted({sample.donor for sample in self.retired} - set(self.donors)))

    @property
    def unread_columns(self) -> tuple[str, ...]:
        """The sheet's columns that nothing reads; one that resembles another's name is followed by that in brackets."""
        names = self.samples[0].extra if self.samples else ()
        resembled = ((name, meant(name, (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))) for name in names)
        return tuple(f"{name} ({other}?)" if other else name for name, other in resembled)

    def samples_of(self, donor: str) -> tuple[Sample, ...]:
        """The donor's samples in the order of the sheet; empty for a donor that it does not name."""
        return tuple(sample for sample in self.samples if sample.donor == donor)


def read_sample_sheet(path: Path | str) -> Cohort:
    """Read and validate a sample sheet, and look whether the files that it names are there.

    A CSV with the columns sample, donor and path; image, annotation, bin, table, retired and condition may follow, and
    any further column is kept in `Sample.extra`. Paths are relative to the sheet. Files of retired samples need not be
    there.

    Raises
    ------
    SampleSheetError
        Naming the file, row and field of the first fault and how many more there are: a missing or repeated column, a
        row with too many or too few cells, an unsafe, empty or repeated name, a path that is missing, of the wrong
        kind, or a Space Ranger folder that is not complete.
    """
    return _read(path, _faults_of_files)


def read_sheet_text(path: Path | str) -> Cohort:
    """The same, judged by its text alone: whether a sample's files are there, `check_files` tells of each.

    Raises
    ------
    SampleSheetError
        As `read_sample_sheet`, but for what the disk holds.
    """
    return _read(path, lambda _: ())


def check_files(sample: Sample) -> None:
    """Whether the files that a row names are there, and of the right kind; none is opened.

    Raises
    ------
    InputDataError
        Naming the sheet, row and field of the first that is not.
    """
    for fault in _faults_of_files(sample):
        raise InputDataError(fault.where, fault.problem, expected=fault.expected, remedy=fault.remedy)


def _read(path: Path | str, faults_of_files: Callable[[Sample], Iterable[SampleSheetError]]) -> Cohort:
    sheet = Path(path).absolute()
    table = read_csv_table(sheet, REQUIRED_COLUMNS, SampleSheetError)
    samples: dict[bool, list[Sample]] = {False: [], True: []}
    faults: list[SampleSheetError] = []
    for row in table.rows:
        sample = _sample(sheet, row)
        retired = RETIREMENT.get(row.cells.get(RETIRED, "").lower())
        samples[bool(retired)].append(sample)
        faults.extend(_faults_of_names(sample))
        if retired is None:
            faults.append(_fault(sample, RETIRED, f"is '{row.cells[RETIRED]}'", expected="yes, no or an empty cell"))
        if not retired:
            faults.extend(list(_faults_of_paths(sample, row)) or faults_of_files(sample))
    faults.extend(_faults_between(sorted(samples[False] + samples[True], key=lambda sample: sample.row)))
    if faults:
        raise _first_of(faults)
    if not samples[False]:
        raise SampleSheetError(str(sheet), "has no sample that is not retired", expected="one or more")
    return Cohort(sheet, tuple(samples[False]), tuple(samples[True]))


def located(path: Path) -> Path:
    """`path` without ``..`` and links above it; a link's own name is kept, for its ending tells the format."""
    try:
        return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    except (OSError, ValueError, RuntimeError):  # too long, a character that no path has, links in a circle
        return path


def _sample(sheet: Path, row: CsvRow) -> Sample:
    cells = row.cells
    known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)

    def file_of(column: str) -> Path | None:
        return located(sheet.parent / cells[column]) if cells.get(column) else None

    return Sample(
        sample=cells[keys.SAMPLE],
        donor=cells[keys.DONOR],
        path=located(sheet.parent / cells[PATH]),
        image=file_of(IMAGE),
        annotation=file_of(ANNOTATION),
        extra={column: cell for column, cell in cells.items() if column not in known},
        row=row.line,
        sheet=sheet,
        bin=cells.get(BIN, ""),
        table=cells.get(TABLE, ""),
        condition=cells.get(CONDITION, ""),
    )


def _faults_of_names(sample: Sample) -> Iterable[SampleSheetError]:
    for column, name in ((keys.SAMPLE, sample.sample), (keys.DONOR, sample.donor)):
        if not name:
            yield _fault(sample, column, "is empty", expected="a name")
        elif not is_safe_name(name):
            yield _fault(
                sample,
                column,
                f"'{name}' is not a safe name",
                expected=NAME_RULE,
                remedy="it becomes a file name",
            )
    if sample.donor in RESERVED_DONORS:
        yield _fault(sample, keys.DONOR, f"'{sample.donor}' stands for all donors", remedy="choose another name")


def _faults_of_paths(sample: Sample, row: CsvRow) -> Iterable[SampleSheetError]:
    """Cells that name no place on any disk."""
    if not row.cells[PATH]:
        yield _fault(sample, PATH, "is empty", expected="a Space Ranger folder, an .h5ad file or a .zarr")
    for column in (PATH, IMAGE, ANNOTATION):
        if not _may_be_a_path(sample.sheet.parent / row.cells.get(column, "")):
            yield _fault(sample, column, "cannot be a path", expected="the path of a file or folder")


def _may_be_a_path(path: Path) -> bool:
    """Whether an operating system would take it for one, be there something or not."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    parts = name.split(os.fsencode(os.sep))
    return b"\0" not in name and len(name) < _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_NAME


def _faults_of_files(sample: Sample) -> Iterable[SampleSheetError]:
    try:
        locate_section(sample.path, sample.bin, sample.table)
    except InputDataError as error:
        problem = f"{error.where} {error.problem}"
        remedy = error.remedy or "put it back, or correct the path"
        yield _fault(sample, PATH, problem, expected=error.expected, remedy=remedy)
    except OSError as error:
        yield _fault_of_access(sample, PATH, sample.path, error)
    for column, file in ((IMAGE, sample.image), (ANNOTATION, sample.annotation)):
        if file is None:
            continue
        try:
            if not (file.is_file() or (column == IMAGE and is_zarr_group(file))):
                problem = f"{file} is a folder" if file.is_dir() else f"{file} does not exist"
                remedy = "put it back, correct the path or leave it empty"
                yield _fault(sample, column, problem, expected="a file", remedy=remedy)
        except OSError as error:
            yield _fault_of_access(sample, column, file, error)


def _fault_of_access(sample: Sample, column: str, path: Path, error: OSError) -> SampleSheetError:
    problem = f"{path} cannot be looked at ({error.strerror})"
    return _fault(sample, column, problem, expected="a place that this account may read", remedy="correct the path")


def _faults_between(samples: list[Sample]) -> Iterable[SampleSheetError]:
    """Names that would share a partition or a file; letters' case is ignored, as some file systems do."""
    sample_of: dict[str, Sample] = {}
    donor_of: dict[str, Sample] = {}
    for sample in samples:
        first = sample_of.setdefault(sample.sample.lower(), sample)
        if first is not sample and sample.sample:
            how = "stands" if first.sample == sample.sample else f"stands, but for its case ('{first.sample}'),"
            yield _fault(
                sample,
                keys.SAMPLE,
                f"'{sample.sample}' {how} in row {first.row} already",
                expected="a name of its own for each sample",
            )
        same = donor_of.setdefault(sample.donor.lower(), sample)
        if same.donor != sample.donor:
            yield _fault(
                sample,
                keys.DONOR,
                f"'{sample.donor}' differs only in case from '{same.donor}' of row {same.row}",
                expected="one spelling for each donor",
            )


def _fault(sample: Sample, column: str, problem: str, *, expected: str = "", remedy: str = "") -> SampleSheetError:
    where = f"{sample.sheet}, row {sample.row}, {column}"
    return SampleSheetError(where, problem, expected=expected, remedy=remedy)


def _first_of(faults: list[SampleSheetError]) -> SampleSheetError:
    first = faults[0]
    if len(faults) == 1:
        return first
    more = f"(and {len(faults) - 1} more fault{'s' if len(faults) > 2 else ''} in this sheet)"
    remedy = f"{first.remedy} {more}" if first.remedy else more
    return SampleSheetError(first.where, first.problem, expected=first.expected, remedy=remedy)

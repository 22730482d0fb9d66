"""Small comma-separated tables that people write: the sample sheet and annotations."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from stalign_core.errors import StalignError

_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What spreadsheets write between cells instead of commas."""


@dataclass(frozen=True)
class CsvRow:
    """A row's cells by column, and the line of the file it stands on (the header is line 1)."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class CsvTable:
    """A header and the rows under it; blank lines are left out and cells stripped."""

    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]


def read_csv_table(path: Path, required: Sequence[str], error: type[StalignError]) -> CsvTable:
    """Read a table with a header; a byte-order mark and any line ending are tolerated.

    Raises
    ------
    error
        If the file is missing, a folder, no UTF-8 text, no CSV or without rows; if a required column is missing or
        any column stands twice; if a row has more or fewer cells than the header.
    """
    lines = _parse(_text(path, error), path, error)
    if not lines:
        raise error(str(path), "is empty", expected="a header with the columns " + ",".join(required))
    header_line, header = lines[0]
    _check_header(header, required, f"{path}, row {header_line}", error)
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise error(
                f"{path}, row {line}",
                f"has {len(cells)} cells",
                expected=f"{len(header)}, one for each column ({','.join(header)})",
                remedy="quote a cell that holds a comma",
            )
        rows.append(CsvRow(line, dict(zip(header, cells, strict=True))))
    if not rows:
        raise error(str(path), "has a header but no rows", expected="one row or more")
    return CsvTable(tuple(header), tuple(rows))


def _text(path: Path, error: type[StalignError]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(str(path), "does not exist", expected="a CSV file") from None
    except IsADirectoryError:
        raise error(str(path), "is a folder", expected="a CSV file") from None
    except UnicodeDecodeError as fault:
        raise error(
            str(path),
            f"is not UTF-8 text ({fault.reason} at byte {fault.start})",
            expected="a CSV file",
            remedy="save it as CSV UTF-8",
        ) from None
    except OSError as fault:
        raise error(str(path), f"cannot be read ({fault.strerror})", expected="a CSV file") from None


def _parse(text: str, path: Path, error: type[StalignError]) -> list[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((reader.line_num, stripped))
    except csv.Error as fault:
        raise error(f"{path}, row {reader.line_num}", f"is not valid CSV ({fault})", expected="a CSV file") from None
    return lines


def _check_header(header: list[str], required: Sequence[str], where: str, error: type[StalignError]) -> None:
    for column in header:
        if header.count(column) > 1:
            raise error(where, f"has the column '{column}' twice", remedy="remove or rename one of the columns")
    missing = [column for column in required if column not in header]
    if missing:
        raise error(
            where,
            f"misses the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            expected=f"a comma-separated header with {','.join(required)}; it is: {','.join(header)}",
            remedy=_remedy_of_header(header, required),
        )


def _remedy_of_header(header: list[str], required: Sequence[str]) -> str:
    """What to do where another separator, or capitals, hide the columns that are needed."""
    for separator, name in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            return f"its cells are separated by {name}: save it as CSV with commas"
    if set(required) <= {column.lower() for column in header}:
        return "write the names of columns in lower case"
    return ""

"""A sample sheet that changes while it is read, or during a run."""

from __future__ import annotations

import csv
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from stalign_core.cohort import read_sample_sheet
from stalign_core.errors import SampleSheetError
from stalign_core.files import replace_file
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.faults.common import bring
from tests.reliability.place import Place, begin, carry_out, end


def replace_sheet(path: Path, texts: tuple[str, str], seconds: float, at_once: bool) -> None:
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        for text in texts:
            replace_file(path, text) if at_once else path.write_text(text)


def sheet_rewritten(place: Place, at_once: bool) -> None:
    path = place.folder / "samples.csv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    texts = tuple(_sheet([{**row, "condition": word} for row in rows]) for word in ("before", "after" * 2000))
    replace_file(path, texts[0])
    writer = threading.Thread(target=replace_sheet, args=(path, texts, 3.0, at_once))
    writer.start()
    seen, n_refused = set(), 0
    while writer.is_alive():
        try:
            samples = read_sample_sheet(path).samples
        except SampleSheetError as error:
            assert "\n" not in error.line
            n_refused += 1
            continue
        seen.add((len(samples), *(sample.condition for sample in samples)))
    writer.join()
    whole = {(len(rows), *(word for _ in rows)) for word in ("before", "after" * 2000)}
    if at_once:
        assert seen == whole and n_refused == 0
    else:
        # Cut off in the last cell of a row, a sheet cannot be told from one that is meant; elsewhere it is refused.
        assert all(any(_is_cut_of(found, of) for of in whole) for found in seen)
    path.write_text(texts[0])
    assert read_sample_sheet(path).donors == ("P01", "P02")


def _is_cut_of(found: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
    n_rows = found[0]
    return found[1:n_rows] == whole[1:n_rows] and whole[n_rows].startswith(found[n_rows])


def _sheet(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


def donors_change_during_a_run(place: Place) -> None:
    """P02 goes and P03 comes while a run is at work; it ends on what it began with, and the next has them."""
    path = place.folder / "samples.csv"
    with path.open() as stream:
        first, second = csv.DictReader(stream)
    third = {name: cell.replace("P02", "P03") for name, cell in second.items()}
    shutil.rmtree(place.folder / "store" / "cohort")
    run = begin(bring, place.folder)
    deadline = time.monotonic() + 120
    while not (place.folder / "store" / "cohort" / "gene_panel").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    replace_file(path, _sheet([first, third]))
    assert end(run) == 0
    asset = "cohort/harmony/domains"
    assert place.current(asset, UNPARTITIONED).manifest.donors == ("P01", "P02")
    place.assert_converged(asset, UNPARTITIONED)
    assert carry_out(bring, place.folder) == 0
    assert place.current(asset, UNPARTITIONED).manifest.donors == ("P01", "P03")
    replace_file(path, _sheet([first, second]))
    assert carry_out(bring, place.folder) == 0
    place.assert_converged(asset, UNPARTITIONED)

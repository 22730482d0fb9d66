"""The finished study, a copy for each case, and the table that is printed at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import stalign_core as st
from stalign_assets.new_study import create_study
from stalign_core import keys
from stalign_core.settings import parse_settings
from tests.reliability.cases import Case
from tests.reliability.faults.common import bring
from tests.reliability.kinds import RARER_SETTINGS, SETTINGS, rarer_assets
from tests.reliability.place import Place, carry_out, copy_of, make_each
from tests.studies import two_donor_sheet


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A study of two donors that was run to its end; not to be changed."""
    folder = tmp_path_factory.mktemp("original") / "study"
    create_study(folder, two_donor_sheet(tiny_data), parse_settings(SETTINGS))
    assert carry_out(bring, folder) == 0
    return folder


@pytest.fixture(scope="session")
def rarer(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """One that holds what the first does not, and all that it is made from; not to be changed."""
    folder = tmp_path_factory.mktemp("rarer") / "study"
    sheet = two_donor_sheet(tiny_data)
    create_study(folder, sheet, parse_settings(RARER_SETTINGS))
    cohort = st.read_cohort(sheet)
    network = pd.DataFrame({"source": np.tile(["p", "q"], 10), "target": cohort.var_names[:20]})
    network.to_csv(folder / "network.csv", index=False)
    (folder / "outside").mkdir()
    rng = np.random.default_rng(0)
    for sample in cohort.obs[keys.SAMPLE].unique():
        barcodes = cohort.obs.loc[cohort.obs[keys.SAMPLE] == sample, keys.BARCODE].astype(str)
        outside = AnnData(obs=pd.DataFrame(index=barcodes.to_numpy()))
        outside.obsm["X_outside"] = rng.normal(size=(len(barcodes), 8)).astype(np.float32)
        outside.write_h5ad(folder / "outside" / f"{sample}.h5ad")
    assert carry_out(make_each, folder, rarer_assets()) == 0
    return folder


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A copy to break, of the study that the case needs."""
    case: Case = request.node.callspec.params["case"]
    original: Path = request.getfixturevalue("rarer" if case.rarer else "original")
    return copy_of(original, original.parent.with_name(f"copy_{original.parent.name}_{tmp_path.name}") / "study")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Cases, and how many of them passed and were skipped, by fault."""
    counts = {outcome: Counter(_faults(terminalreporter, outcome)) for outcome in ("passed", "failed", "skipped")}
    cases = sum(counts.values(), Counter())
    if cases:
        terminalreporter.section("faults")
        terminalreporter.write_line("| fault | cases | passed | skipped |")
        for fault in cases:
            terminalreporter.write_line(
                f"| {fault} | {cases[fault]} | {counts['passed'][fault]} | {counts['skipped'][fault]} |"
            )
        passed, skipped = counts["passed"].total(), counts["skipped"].total()
        terminalreporter.write_line(f"| all | {cases.total()} | {passed} | {skipped} |")


def _faults(terminalreporter: pytest.TerminalReporter, outcome: str) -> Iterator[str]:
    for report in terminalreporter.stats.get(outcome, ()):
        fault = dict(report.user_properties).get("fault")
        if fault is not None and report.when == "call":
            yield fault

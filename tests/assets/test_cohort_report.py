"""Pages for people: whole, self-contained, and of what the store holds."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stalign_assets.cli.main import main
from stalign_assets.pages.writing import write_reports
from stalign_assets.study import open_study
from stalign_core.errors import SettingsError
from stalign_core.plots.marker_dots import leading_markers

pytestmark = pytest.mark.slow


class Tags(HTMLParser):
    """Open tags, what they link to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [str(given[name]) for name in ("src", "href") if name in given]
        self.ids.update(str(given[name]) for name in ("id",) if name in given)
        if tag not in ("meta", "img", "!doctype", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> Tags:
    """A page whose tags close."""
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    tags.close()
    assert tags.open == []
    return tags


def test_a_run_leaves_a_page_of_the_cohort_and_one_per_donor(finished_study: Path) -> None:
    for name in ("cohort", "donor_P01", "donor_P02"):
        page = read(finished_study / "reports" / f"{name}.html")
        assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links), "it needs no other file"
        assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
        text = " ".join(page.text)
        expected = ["P01_S1", "P02_S1"] if name == "cohort" else [f"{name[-3:]}_S1"]
        assert all(sample in text for sample in expected)
        assert ("P02_S1" in text) == (name != "donor_P01")


def test_figures_are_there_as_png_and_svg(finished_study: Path) -> None:
    for name in ("domain_maps", "composition", "P01/domain_maps"):
        folder = finished_study / "reports" / "figures"
        assert Image.open(folder / f"{name}.png").width > 300
        assert "<svg" in (folder / f"{name}.svg").read_text()


def test_the_metrics_are_those_of_the_table(finished_study: Path) -> None:
    page = (finished_study / "reports" / "cohort.html").read_text()
    tables = [_table(text) for text in re.findall(r"<table.*?</table>", page, re.DOTALL)]
    metrics = next(table for table in tables if "variant" in table.columns)
    assert set(metrics["variant"]) == {"uncorrected", "harmony"}
    samples = next(table for table in tables if "spots" in table.columns)
    domains = open_study(finished_study).store.current("cohort/harmony/domains", "_all").table("domains.parquet")
    assert (
        dict(zip(samples["sample"], samples["spots"].astype(int), strict=True))
        == domains["sample"].value_counts().to_dict()
    )


def _table(text: str) -> pd.DataFrame:
    header, *rows = (
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)
    )
    return pd.DataFrame(rows, columns=header)


def test_the_command_tells_of_another_variant(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", str(study), "--variant", "uncorrected", "--json"])
    assert not end.value.code
    paths = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in paths] == ["cohort.html", "donor_P01.html", "donor_P02.html"]
    assert re.search("variant 'uncorrected'", (study / "reports" / "cohort.html").read_text().replace("&#x27;", "'"))
    with pytest.raises(SettingsError, match="variant 'none': is not known"):
        write_reports(open_study(study), "none")


def test_leading_markers_by_hand() -> None:
    table = pd.DataFrame(
        {
            "domain": ["2", "2", "10", "10", "10"],
            "gene": ["a", "b", "a", "c", "d"],
            "log2_fold_change": [1.0, 1.0, 1.0, 1.0, 0.1],
            "t": [5.0, 4.0, 9.0, 3.0, 8.0],
            "is_marker": [True, True, True, True, False],
        }
    )
    assert leading_markers(table, 1) == ["a", "c"]
    untested = table.assign(t=np.nan, is_marker=False)
    assert leading_markers(untested, 2) == ["a", "b", "c"], "the table's order, without what hardly differs"


def test_the_page_of_two_donors_shows_leading_genes_and_says_that_they_are_not_tested(finished_study: Path) -> None:
    text = " ".join(read(finished_study / "reports" / "cohort.html").text)
    assert "without a test" in text and "fewer than three" in text
    assert "<svg" in (finished_study / "reports" / "figures" / "markers.svg").read_text()


def test_conditions_stand_in_the_table_and_too_few_donors_to_compare_them_are_told(finished_study: Path) -> None:
    conditions = {sample.sample: sample.condition for sample in open_study(finished_study).cohort.samples}
    assert len(set(conditions.values())) == 2, "the simulated donors differ in condition"
    page = (finished_study / "reports" / "cohort.html").read_text()
    samples = _table(re.findall(r"<table.*?</table>", page, re.DOTALL)[0])
    assert dict(zip(samples["sample"], samples["condition"], strict=True)) == conditions
    assert "The conditions of the sheet were not compared: a donor is one observation" in page


def test_tables_that_the_page_names_lie_beside_it(finished_study: Path) -> None:
    page = (finished_study / "reports" / "cohort.html").read_text()
    named = set(re.findall(r"\w+_cohort_\w+\.csv", page))
    assert {"markers_cohort_harmony.csv"} <= named
    assert all((finished_study / "reports" / name).is_file() for name in named)


def test_every_column_of_the_metrics_is_explained(finished_study: Path) -> None:
    page = (finished_study / "reports" / "cohort.html").read_text()
    metrics = _table(next(text for text in re.findall(r"<table.*?</table>", page, re.DOTALL) if "ari_donor" in text))
    told = re.search(r"Better when higher.*?</p>", page, re.DOTALL)
    assert told is not None
    assert all(re.search(rf"\b{name}\b", told[0]) for name in metrics.columns.drop(["scope", "variant", "step"]))

"""The pages of a cohort of 30 samples and of one of 3: what they tell, and how they look on desk, phone and paper."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.new_study import create_study
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from stalign_core.simulate import simulate_cohort
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED
from tests.studies import TINY_DESIGN, TINY_SETTINGS
from tests.ui.chromium import browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

DONORS = [f"P{number:02d}" for number in range(1, 7)]
SECTIONS = 5
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
PRINTED = {"width": 680, "height": 1009}
"""A sheet of A4 without its margins of 15 mm."""


def cohort_of(folder: Path, n_donors: int, n_sections: int, n_spots_a_side: int) -> Path:
    """A study of simulated donors, run in cohort scope."""
    design = dataclasses.replace(
        TINY_DESIGN,
        n_donors=n_donors,
        sections_per_donor=n_sections,
        lattice_rows=n_spots_a_side,
        lattice_columns=n_spots_a_side,
    )
    sheet = simulate_cohort(folder / "data", design, seed=1)
    genes = [f"SIM{number:05d}" for number in range(1, 25)]
    network = pd.DataFrame({"source": ["One"] * 12 + ["Two"] * 12, "target": genes, "weight": 1.0})
    network.to_csv(folder / "network.csv", index=False)
    settings = {**TINY_SETTINGS, "downstream": {"network": str(folder / "network.csv")}}
    study = folder / "study"
    create_study(study, sheet, parse_settings(settings))
    report = bring_up_to_date(Request.parse(study, scopes="cohort"))
    assert report.success, report.lines()
    return study


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six donors with five sections each, three of either condition."""
    return cohort_of(tmp_path_factory.mktemp("thirty"), len(DONORS), SECTIONS, 12)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One donor with three sections."""
    return cohort_of(tmp_path_factory.mktemp("three"), 1, 3, 14)


@pytest.fixture(scope="module")
def browser(thirty: Path, three: Path) -> Iterator[Browser]:
    """Opened after the studies were run: a run has an event loop of its own, and so has the browser."""
    with browsing() as opened:
        yield opened


def in_force(study: Path, name: str) -> Artifact:
    artifact = open_study(study).store.current(f"cohort/harmony/{name}", UNPARTITIONED)
    assert artifact is not None
    return artifact


def page_of(study: Path, name: str = "cohort") -> str:
    return (study / "reports" / f"{name}.html").read_text(encoding="utf-8")


def test_markers_are_tested_with_donors_as_units(thirty: Path) -> None:
    markers = in_force(thirty, "domain_markers").table("markers.parquet")
    tested = markers[markers["t"].notna()]
    assert set(tested["n_donors"]) == {len(DONORS)}, "thirty sections are six observations"
    assert tested["is_marker"].any()
    assert (tested.loc[tested["is_marker"], "q"] <= 0.05).all()
    assert "with donors as units" in page_of(thirty)
    assert "without a test" not in page_of(thirty)


def test_conserved_programs_hold_in_the_donors_that_they_name(thirty: Path) -> None:
    programs = in_force(thirty, "domain_markers").table("programs.parquet")
    named = programs["donors"].str.split(", ")
    assert (named.map(len) == programs["n_significant"]).all()
    assert {donor for donors in named for donor in donors} == set(DONORS)
    counts = programs["program"].value_counts()
    told = re.search(r"(\d+) markers are conserved, (\d+) shared by some donors, and (\d+) specific", page_of(thirty))
    assert told is not None
    assert [int(number) for number in told.groups()] == [
        counts.get(program, 0) for program in ("conserved", "shared", "donor-specific")
    ]
    own = page_of(thirty, "donor_P01")
    for domain in programs.loc[named.map(lambda donors: "P01" in donors), "domain"].unique():
        assert f"<td>{domain}</td>" in own


def test_conditions_are_compared_between_donors(thirty: Path) -> None:
    stored = in_force(thirty, "domain_abundance")
    abundance, told = stored.table("abundance.parquet"), stored.table("differences.parquet")
    spots = abundance.pivot_table(index=["condition", "donor"], columns="domain", values="n_spots", aggfunc="sum")
    logs = np.log(spots + 0.5)
    ratios = logs.sub(logs.mean(axis=1), axis=0)
    expected = stats.ttest_ind(ratios.loc["treated"], ratios.loc["control"], equal_var=False)
    assert set(told["design"]) == {"between donors"}
    assert (told[["n_donors", "n_donors_reference"]] == 3).all(axis=None)
    assert told.set_index("domain")["p"].loc[list(spots.columns)].to_numpy() == pytest.approx(expected.pvalue)
    assert "Shares of the domains compared between the conditions" in page_of(thirty)


def test_pathways_are_told_of_six_donors(thirty: Path) -> None:
    activities = in_force(thirty, "pathway_activity").table("activities.parquet")
    assert set(activities["pathway"]) == {"One", "Two"}
    assert activities["q"].notna().any()
    assert "A star says" in page_of(thirty)


def test_the_page_names_settings_versions_and_the_artifact(thirty: Path) -> None:
    page = page_of(thirty)
    manifest = in_force(thirty, "domains").manifest
    assert manifest.input_key in page
    for package in ("torch", "scanpy", "harmonypy"):
        assert f"<td>{package}</td>\n      <td>{manifest.packages[package]}</td>" in page
    changed = page[page.index("Settings that differ") : page.index("<details>")]
    assert {name for name in re.findall(r"<td>([a-z_.0-9]+)</td>\n", changed) if "." in name} >= {
        "expression.n_top_genes",
        "downstream.network",
    }
    assert "correction.harmony.theta" not in changed
    assert "correction.harmony.theta" in page
    warnings = re.findall(r'<p class="warning">(.*?)</p>', page)
    assert any("picture serves as image" in line for line in warnings)


def test_umaps_are_drawn_before_and_after_of_the_same_spots(thirty: Path) -> None:
    figures = thirty / "reports" / "figures"
    told = (figures / "umaps.svg").read_text()
    for title in ("expression before", "expression after harmony", "AESTETIK embedding"):
        assert f"{title}, by donor" in told
        assert f"{title}, by domain" in told
    assert "morphology after harmony, by donor" in (figures / "umaps_of_morphology.svg").read_text()
    assert all(donor in told for donor in DONORS)
    assert "UMAP of 2000 of" in page_of(thirty)


def opened(browser: Browser, study: Path, name: str, size: Any) -> tuple[Page, list[str]]:
    """A page, and what the browser's console and network complain of."""
    page = browser.new_page(viewport=size)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    page.goto((study / "reports" / f"{name}.html").as_uri())
    return page, faults


WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
BROKEN = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("cohort", ["thirty", "three"])
def test_every_picture_shows_and_the_page_never_scrolls_sideways(
    browser: Browser, cohort: str, size: Any, request: pytest.FixtureRequest
) -> None:
    study: Path = request.getfixturevalue(cohort)
    n_samples = len(open_study(study).cohort.samples)
    donors = open_study(study).cohort.donors
    for name in ("cohort", f"donor_{donors[0]}"):
        page, faults = opened(browser, study, name, size)
        content, window = page.evaluate(WIDTHS)
        assert content <= window
        assert page.evaluate(BROKEN) == 0
        # A donor that stands alone has no place among others.
        n_pictures = 5 if name == "cohort" else 3 if len(donors) > 1 else 2
        assert page.evaluate("document.images.length") >= n_pictures
        rows = page.locator("section", has_text="median counts per spot").first.locator("tbody tr")
        assert rows.count() == (n_samples if name == "cohort" else n_samples // len(donors))
        assert faults == []
        page.close()


def test_letters_stay_readable_on_a_phone(browser: Browser, thirty: Path) -> None:
    page, _ = opened(browser, thirty, "cohort", PHONE)
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
    widths = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().width)")
    assert min(widths) > 1.5 * PHONE["width"], "pictures are shown large, and scroll by themselves"
    page.close()


def test_links_lead_to_their_sections(browser: Browser, three: Path) -> None:
    page, _ = opened(browser, three, "cohort", DESK)
    for link in page.locator("nav a").all():
        link.click()
        heading = page.locator(page.evaluate("location.hash"))
        assert heading.inner_text() == link.inner_text()
        assert heading.is_visible()
    page.close()


def test_on_paper_nothing_is_cut_off_and_all_settings_are_there(browser: Browser, thirty: Path) -> None:
    page, _ = opened(browser, thirty, "cohort", PRINTED)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    content, window = page.evaluate(WIDTHS)
    assert content <= window
    millimetre = PRINTED["width"] / 180
    heights = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().height)")
    assert max(heights) <= 231 * millimetre, "a picture fits on one sheet"
    assert page.get_by_text("correction.harmony.theta", exact=True).is_visible(), "what is folded is told on paper"
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", pdf)) >= 4
    page.close()

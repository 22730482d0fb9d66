"""The UI in a real browser: the lineage page reads as one picture, and a domains asset shows its map."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from stalign_assets.demo import create_demo
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from tests.studies import run
from tests.ui.chromium import browsing, need_chromium
from tests.ui.graphql import latest_metadata, wait_for
from tests.ui.server import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_MS = 120_000
DONORS_DOMAINS = "donor/harmony/domains"
RUNS = """query ($donor: String!) {
  runsOrError(filter: {tags: [{key: "dagster/partition", value: $donor}]}) {
    ... on Runs { results { runId assetSelection { path } } }
  }
}"""

RIGHTMOST_OF_TWO = """name => {
  const boxes = [...document.querySelectorAll("div, span")]
    .filter(element => element.childElementCount === 0 && element.textContent === name)
    .map(element => element.getBoundingClientRect())
    .filter(box => box.height > 0);
  return boxes.length > 1 ? Math.max(...boxes.map(box => box.left)) : null;
}"""
"""Left edge of the rightmost place that shows a name, once two places do."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`stalign ui` on the demo study, with one variant of one donor made; since then, a setting was changed.

    Nothing runs unattended: what a click does is told from what is there.
    """
    need_chromium()
    folder = tmp_path_factory.mktemp("browsed") / "study"
    donor = create_demo(folder, say=lambda _: None).cohort.donors[0]
    report = run(folder, scopes="donor", variants="harmony", donors=donor)
    assert report.success, report.lines()
    set_value(folder / "study.toml", "domains", "refine_neighbors", 4)
    set_value(folder / "study.toml", "automation", "watch", False)
    set_value(folder / "study.toml", "automation", "integrate_at", "")
    with serving(folder) as server:
        yield server


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    """A page of a fresh browser; afterwards, no script failed and nothing was asked of another machine."""
    faults: list[str] = []
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1300})
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if is_foreign(request.url, server) else None)
        yield page
    assert faults == []


def is_foreign(url: str, server: Server) -> bool:
    address = server.url.removeprefix("http:")
    return not url.startswith((f"http:{address}", f"ws:{address}", "data:", "blob:"))


def test_the_terminal_says_when_the_page_is_there_and_nothing_of_dagsters_successors(server: Server) -> None:
    said = server.log.read_text(errors="replace")
    assert f"{server.url}, once 'Serving dagster-webserver' stands below" in said
    assert "Serving dagster-webserver on" in said, "what the first line tells to look for"
    assert "superseded" not in said


def test_the_lineage_page_shows_every_group_from_left_to_right(page: Page, server: Server) -> None:
    settings = open_study(server.log.parent / "study").settings
    groups = {recipe.group for recipe in recipes_of(settings).values()} | {"results"}
    page.goto(f"{server.url}/asset-groups")
    left = {group: left_edge(page, group) for group in groups}
    columns = [
        {left["samples"]},
        {left[group] for group in groups if group.endswith("_features")},
        {left[group] for group in groups - {"samples", "results"} if not group.endswith("_features")},
        {left["results"]},
    ]
    for before, after in pairwise(columns):
        assert max(before) < min(after), left


def left_edge(page: Page, group: str) -> float:
    """Where a group's box in the graph begins; the list beside the graph names the group too, further left."""
    left: float = page.wait_for_function(RIGHTMOST_OF_TWO, arg=group).json_value()
    return left


def test_a_donors_partition_of_the_domains_is_shown_as_materialised(page: Page, server: Server) -> None:
    donor = open_study(server.log.parent / "study").cohort.donors[0]
    page.goto(f"{server.url}/assets/donor/harmony/domains?view=partitions&partition={donor}")
    page.get_by_text("Materialized", exact=True).first.wait_for()
    page.get_by_text("n_domains", exact=True).wait_for()


def runs_of(server: Server, asset: str, donor: str) -> set[str]:
    """Runs of this asset alone, for this donor."""
    found = server.ask(RUNS, donor=donor)["runsOrError"]["results"]
    return {run["runId"] for run in found if run["assetSelection"] == [{"path": asset.split("/")}]}


def launched_run(server: Server, asset: str, donor: str, before: set[str]) -> str:
    """The one run of an asset alone, for a donor, that was not there before."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        launched = runs_of(server, asset, donor) - before
        if launched:
            (run_id,) = launched
            return run_id
        time.sleep(0.5)
    raise TimeoutError(server.log.read_text(errors="replace"))


def test_a_donors_partition_is_materialised_by_clicking(page: Page, server: Server) -> None:
    donor = open_study(server.log.parent / "study").cohort.donors[0]
    address = f"{server.url}/assets/{DONORS_DOMAINS}?view=partitions"
    before = runs_of(server, DONORS_DOMAINS, donor)
    page.goto(address)
    page.get_by_text("Materialized (1)").wait_for()
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_text(donor, exact=True).filter(visible=True).last.click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    made = launched_run(server, DONORS_DOMAINS, donor, before)
    assert wait_for(server.ask, made, PATIENCE_MS / 1000)["status"] == "SUCCESS"
    page.goto(f"{address}&partition={donor}")
    page.get_by_text(made[:8]).first.wait_for()
    assert row_of(page, "reused") == "false"
    look_at_pictures(page, "domain_map", "umap")
    shown = latest_metadata(server.ask, DONORS_DOMAINS, donor)
    assert shown["reused"] is False and shown["seconds"] > 0


def row_of(page: Page, label: str) -> str:
    """What stands beside a label in the table of metadata."""
    cell = page.get_by_role("row").filter(has=page.get_by_text(label, exact=True)).get_by_role("cell").nth(1)
    return cell.inner_text().strip()


def look_at_pictures(page: Page, *names: str) -> None:
    page.get_by_text("Show Markdown").first.click()
    for name in names:
        picture = page.get_by_role("img", name=name)
        picture.wait_for()
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 100
        assert picture.get_attribute("src").startswith("data:image/png;base64,")

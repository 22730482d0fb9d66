"""Reports and the atlas as assets: what a run leaves in Dagster, and what a click makes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import dagster as dg
import pytest
from PIL import Image

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.exporting import export_cohort
from stalign_assets.pages.writing import write_reports
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.resources import StudyResource
from stalign_assets.reporting import Silent
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from tests.studies import run

pytestmark = pytest.mark.slow


@pytest.fixture
def history(study: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(open_study(study)) as instance:
        yield instance


def clicked(study: Path, instance: dg.DagsterInstance, asset: str, **words: Any) -> dg.ExecuteInProcessResult:
    """Materialise one asset, as the UI does."""
    definitions = build_definitions(
        settings=open_study(study).settings, resources={"study": StudyResource(folder=str(study))}
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(asset)], raise_on_error=False, **words
    )


def told(instance: dg.DagsterInstance, asset: str, partition: str | None = None) -> dict[str, Any]:
    """Metadata of the newest materialisation."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[partition] if partition else None), limit=1
    ).records
    materialization = records[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


class Listener(Silent):
    """Keeps the lines of steps."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def step_said(self, line: str) -> None:
        """Keep a line."""
        self.said.append(line)


def pictures_in(markdown: str) -> list[Image.Image]:
    encoded = re.findall(r"base64,([A-Za-z0-9+/=]+)\)", markdown)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in encoded]


def test_a_run_materialises_the_report_of_the_cohort_and_of_each_donor(
    study: Path, history: dg.DagsterInstance
) -> None:
    cohort = told(history, "cohort_report")
    assert Path(cohort["page"]).name == "cohort.html"
    assert (cohort["variant"], cohort["n_donors"]) == ("harmony", 2)
    assert len(pictures_in(cohort["pictures"])) == 3
    table = open_study(study).store.current("cohort/harmony/domains", "_all").table("domains.parquet")
    for donor in ("P01", "P02"):
        of_donor = told(history, "donor_report", donor)
        assert Path(of_donor["page"]).name == f"donor_{donor}.html"
        assert (of_donor["samples"], of_donor["n_spots"]) == (f"{donor}_S1", int((table["donor"] == donor).sum()))
        assert of_donor["spots_of_domains"] == table[table["donor"] == donor]["domain"].value_counts().to_dict()
        assert len(pictures_in(of_donor["pictures"])) == 2


def test_nothing_is_written_again_until_something_that_is_told_changes(study: Path) -> None:
    page = study / "reports" / "cohort.html"
    first = page.stat().st_mtime_ns
    assert run(study).success
    assert page.stat().st_mtime_ns == first
    text = page.read_text()
    (study / "reports" / "donor_P02.html").unlink()
    assert run(study).success
    assert (study / "reports" / "donor_P02.html").is_file()
    assert page.read_text() == text
    sheet = study / "samples.csv"
    sheet.write_text(sheet.read_text().replace("treated", "recovered"))
    assert run(study).success
    assert "recovered" in page.read_text()


def test_a_process_of_its_own_writes_the_reports_and_tells_of_each_donor(
    study: Path, history: dg.DagsterInstance
) -> None:
    set_value(study / "study.toml", "execution", "processes", 2)
    sheet = study / "samples.csv"
    sheet.write_text(sheet.read_text().replace("treated", "recovered"))
    console = Listener()
    report = bring_up_to_date(Request.parse(study, scopes="cohort"), console)
    assert report.exit_code == 0, report.lines()
    assert "cohort_report: rebuilt" in console.said
    assert "recovered" in (study / "reports" / "donor_P02.html").read_text()
    (newest,) = history.get_runs(limit=1)
    for donor in ("P01", "P02"):
        (record,) = history.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("donor_report"), asset_partitions=[donor]), limit=1
        ).records
        assert record.event_log_entry.run_id == newest.run_id


def test_a_retired_donor_has_no_page_any_more(study: Path) -> None:
    lines = (study / "samples.csv").read_text().splitlines()
    (study / "samples.csv").write_text("\n".join(lines[:2]) + "\n")
    assert run(study).success
    assert sorted(path.name for path in (study / "reports").glob("*.html")) == ["cohort.html", "donor_P01.html"]
    assert "P02_S1" not in (study / "reports" / "cohort.html").read_text()
    folders = [path.name for path in (study / "reports" / "figures").iterdir() if path.is_dir()]
    assert folders == ["P01"]


def test_figures_of_no_page_go_and_what_others_put_beside_them_stays(study: Path) -> None:
    figures = study / "reports" / "figures"
    gone, kept = [figures / "domain_maps_2.png", figures / "P01" / "umaps_P01.svg"], figures / "mine.png"
    for path in (*gone, kept):
        path.write_bytes(b"")
    assert run(study).success
    assert all(path.is_file() for path in (*gone, kept)), "nothing that is told has changed"
    (figures / "domain_maps.png").unlink()
    assert run(study).success
    assert not any(path.exists() for path in gone)
    assert kept.is_file() and (figures / "markers.svg").is_file()


def test_a_donors_report_is_made_by_a_click(study: Path, history: dg.DagsterInstance) -> None:
    page = study / "reports" / "donor_P01.html"
    before = page.read_text()
    page.unlink()
    assert clicked(study, history, "donor_report", partition_key="P01").success
    assert page.read_text() == before
    assert told(history, "donor_report", "P01")["seconds"] > 0


def test_a_donor_that_the_cohort_lacks_has_no_report_and_one_line_says_so(
    study: Path, history: dg.DagsterInstance
) -> None:
    history.add_dynamic_partitions("donors", ["P99"])
    result = clicked(study, history, "donor_report", partition_key="P99")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "donor P99: is not in the cohort" in failure.event_specific_data.user_failure_data.description  # type: ignore[union-attr]


def test_without_domains_that_are_up_to_date_no_report_is_materialised(
    study: Path, history: dg.DagsterInstance
) -> None:
    settings = study / "study.toml"
    settings.write_text(settings.read_text().replace("epochs = 2", "epochs = 3"))
    result = clicked(study, history, "cohort_report")
    assert result.success
    assert result.get_asset_materialization_events() == []


def test_the_atlas_is_exported_by_a_click(study: Path, history: dg.DagsterInstance) -> None:
    config = {"ops": {"atlas": {"config": {"formats": ["h5ad", "loupe"]}}}}
    assert clicked(study, history, "atlas", run_config=config).success
    atlas = told(history, "atlas")
    (file,) = atlas["files"]["h5ad"]
    assert anndata.read_h5ad(file).n_obs == atlas["n_spots"]
    assert [Path(path).name for path in atlas["files"]["loupe"]] == ["P01_S1.csv", "P02_S1.csv"]
    wrong = {"ops": {"atlas": {"config": {"formats": ["xlsx"]}}}}
    assert not clicked(study, history, "atlas", run_config=wrong).success


def test_between_a_new_section_and_the_next_integration_results_are_told_of_the_samples_they_are_of(
    study: Path, tiny_data: Path, history: dg.DagsterInstance
) -> None:
    """By day a donor's samples are read as they come; the cohort follows by night."""
    header, *rows = (study / "samples.csv").read_text().splitlines()
    third = (tiny_data / "samples.csv").read_text().splitlines()[3].split(",")
    fields = [str(tiny_data / cell) if position in (2, 3, 4) and cell else cell for position, cell in enumerate(third)]
    fields[1] = "P01"
    (study / "samples.csv").write_text("\n".join([header, *rows, ",".join(fields)]) + "\n")
    assert clicked(study, history, "raw_samples", partition_key="P01").success
    opened = open_study(study)
    assert len(opened.store.current("raw_samples", "P01").manifest.summary["samples"]) == 2
    table = opened.store.current("cohort/harmony/domains", "_all").table("domains.parquet")
    (done,) = export_cohort(opened, "harmony", ("h5ad",))
    assert anndata.read_h5ad(done.files[0]).n_obs == len(table)
    assert clicked(study, history, "donor_report", partition_key="P01").success
    assert fields[0] not in (study / "reports" / "donor_P01.html").read_text()


def test_donors_that_the_cohort_lacks_now_are_named_with_the_reason(study: Path, tiny_data: Path) -> None:
    sheet = study / "samples.csv"
    lines = sheet.read_text().splitlines()
    raw = open_study(study).store.current("raw_samples", "P01")
    few = raw.anndata("P01_S1.counts.h5ad")[:20].copy()
    few.obsm["spatial"] = raw.table("P01_S1.spots.parquet")[["x", "y"]].to_numpy()[:20]
    few.write_h5ad(study / "few.h5ad")
    (number, donor, *rest) = (tiny_data / "samples.csv").read_text().splitlines()[3].split(",")
    newcomer = ",".join([number, donor, *(str(tiny_data / cell) for cell in rest[:3]), *rest[3:]])
    sheet.write_text("\n".join([*lines, newcomer, "P09_S1,P09,few.h5ad,,,"]) + "\n")
    assert not run(study, donors="P09", scopes="donor").success, "nothing is left of what was asked for"
    write_reports(open_study(study))
    page = (study / "reports" / "cohort.html").read_text()
    assert re.search(r"Donor P09 is left out: [^<]*20 spots", page)
    assert f"Donor {donor} is not in this cohort yet." in page
    assert "P09 is left out" not in (study / "reports" / "donor_P01.html").read_text()


def test_a_sample_whose_image_is_gone_lies_on_white_and_the_page_says_so(study: Path) -> None:
    opened = open_study(study)
    sample = opened.cohort.samples[0]
    pictures = sorted(sample.path.glob("spatial/*.png"))
    moved = [(path, path.with_suffix(".away")) for path in (*pictures, sample.image) if path is not None]
    for path, away in moved:
        path.rename(away)
    try:
        write_reports(opened)
        told = f"{sample.sample}: the image cannot be read now"
        assert told in (study / "reports" / "cohort.html").read_text()
    finally:
        for path, away in moved:
            away.rename(path)
    assert run(study).success
    assert told not in (study / "reports" / "cohort.html").read_text(), "it is drawn anew once the image is back"


def test_figures_that_were_deleted_come_back(study: Path) -> None:
    figure = study / "reports" / "figures" / "P01" / "domain_maps.svg"
    figure.unlink()
    assert run(study).success
    assert figure.is_file()

"""The assets `cohort_report` and `donor_report`: pages for people, with what they show as metadata."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pandas as pd
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from stalign_assets import reporting
from stalign_assets.locking import using_store
from stalign_assets.measure import Measure
from stalign_assets.pages.content import figures_folder, reported_variant
from stalign_assets.pages.writing import REPORT_VERSION, Pages, update_reports, write_donor_report
from stalign_assets.platform.assets import failing_in_one_line
from stalign_assets.platform.metadata import cost_metadata, pictures_entry
from stalign_assets.platform.partitions import DONORS
from stalign_assets.platform.resources import StudyResource
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.recipes.samples import RAW
from stalign_assets.study import Study
from stalign_core.plots import thumbnail
from stalign_core.settings import Settings
from stalign_core.store.store import UNPARTITIONED

COHORT_REPORT: Final = "cohort_report"
DONOR_REPORT: Final = "donor_report"
_TOLD: Final = (
    "corrected_features",
    "spot_embeddings",
    "domains",
    "domain_markers",
    "domain_abundance",
    "pathway_activity",
)
"""What the pages read of a variant."""


def report_assets(settings: Settings, recipes: Mapping[str, Recipe]) -> list[dg.AssetsDefinition]:
    """The report of the cohort, and one partition per donor of the donors' reports."""
    variant = reported_variant(settings)
    read = [recipes[asset].path for name in _TOLD if (asset := f"cohort/{variant}/{name}") in recipes]
    return [_cohort_report([RAW, METRICS_TABLES, *read]), _donor_report([RAW, METRICS_TABLES, *read])]


def _cohort_report(deps: list[Any]) -> dg.AssetsDefinition:
    @dg.asset(
        key=COHORT_REPORT,
        deps=deps,
        group_name="results",
        description="reports/cohort.html with its figures as PNG and SVG, and a page per donor.",
        code_version=str(REPORT_VERSION),
        kinds={"html"},
        output_required=False,
    )
    def cohort_report(context: dg.AssetExecutionContext, study: StudyResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with failing_in_one_line(), Measure() as measure:
            opened = study.of_run(context.run_id)
            watcher = reporting.watch(COHORT_REPORT, "", context.log.info)
            with using_store(opened, watcher.say), opened.store.remembering():
                pages = update_reports(opened, recipes_of(opened.settings), watcher.progress)
            if isinstance(pages, str):
                watcher.said_done(f"{COHORT_REPORT}: not written, {pages}")
                return
            watcher.said_done(f"{COHORT_REPORT}: {'reused' if pages.reused else 'rebuilt'}")
        untold = _untold(context.instance, pages)
        counts = _spots_of_domains(opened) if untold else {}
        for donor in untold:
            context.log_event(_of_donor(opened, donor, pages, counts.get(donor, {}), measure))
        yield dg.MaterializeResult(
            metadata={
                "reused": pages.reused,
                "page": dg.MetadataValue.path(str(pages.cohort)),
                "variant": pages.variant,
                "n_donors": len(pages.donors),
                **_pictures(figures_folder(opened), ("domain_maps", "umaps", "composition")),
                **cost_metadata(measure),
            },
            data_version=dg.DataVersion(pages.key),
        )

    return cohort_report


def _donor_report(deps: list[Any]) -> dg.AssetsDefinition:
    @dg.asset(
        key=DONOR_REPORT,
        deps=deps,
        partitions_def=DONORS,
        group_name="results",
        description="reports/donor_NAME.html: a donor's samples, domains, and place among the others.",
        code_version=str(REPORT_VERSION),
        kinds={"html"},
    )
    def donor_report(context: dg.AssetExecutionContext, study: StudyResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        donor = context.partition_key
        with failing_in_one_line(), Measure() as measure:
            opened = study.of_run(context.run_id)
            with using_store(opened, context.log.info), opened.store.remembering():
                page, key = write_donor_report(opened, donor)
        return dg.MaterializeResult(
            metadata={
                **_facts_of_donor(opened, donor, page, _spots_of_domains(opened).get(donor, {})),
                **cost_metadata(measure),
            },
            data_version=dg.DataVersion(key),
        )

    return donor_report


def _untold(instance: dg.DagsterInstance, pages: Pages) -> list[str]:
    """Donors of whose page the history does not tell last: of all that were written, unless a run died before it."""
    told = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(DONOR_REPORT),
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        [DATA_VERSION_TAG],
        asset_partitions=list(pages.donors),
    )
    return [donor for donor in pages.donors if told.get(donor, {}).get(DATA_VERSION_TAG) != pages.key]


def _of_donor(
    study: Study, donor: str, pages: Pages, spots_of_domains: Mapping[str, int], measure: Measure
) -> dg.AssetMaterialization:
    """The donor's page, told of by the step that wrote all of them, and with what that step took."""
    return dg.AssetMaterialization(
        asset_key=DONOR_REPORT,
        partition=donor,
        metadata={**_facts_of_donor(study, donor, pages.donors[donor], spots_of_domains), **cost_metadata(measure)},
        tags={DATA_VERSION_TAG: pages.key},
    )


def _spots_of_domains(study: Study) -> dict[str, dict[str, int]]:
    """By donor, the spots of each domain of the reported variant."""
    domains = study.store.current(f"cohort/{reported_variant(study.settings)}/domains", UNPARTITIONED)
    if domains is None:
        return {}
    table = domains.table("domains.parquet")
    counts = pd.crosstab(table["donor"], table["domain"])
    return {
        str(donor): {str(domain): int(number) for domain, number in row.items() if number}
        for donor, row in counts.iterrows()
    }


def _facts_of_donor(study: Study, donor: str, page: Path, spots_of_domains: Mapping[str, int]) -> dict[str, Any]:
    raw = study.store.current(RAW, donor)
    samples = {} if raw is None else raw.manifest.summary["samples"]
    return {
        "page": dg.MetadataValue.path(str(page)),
        "samples": dg.MetadataValue.text(", ".join(sorted(samples))),
        "n_spots": sum(each["spots"] for each in samples.values()),
        "spots_of_domains": dg.MetadataValue.json(dict(spots_of_domains)),
        **_pictures(figures_folder(study, donor), ("domain_maps", "umaps")),
    }


def _pictures(folder: Path, names: tuple[str, ...]) -> dict[str, dg.MetadataValue]:
    """Small pictures of the figures that are there."""
    paths = {name: folder / f"{name}.png" for name in names}
    return pictures_entry({name: thumbnail(path.read_bytes()) for name, path in paths.items() if path.is_file()})

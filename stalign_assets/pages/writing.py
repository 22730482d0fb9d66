"""Writing the pages: the cohort's and one per donor, each replaced as a whole, and only where something changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_assets.pages import sections
from stalign_assets.pages.about import made_from, settings_told
from stalign_assets.pages.content import FIGURES, ReportContent, figures_folder, reported_variant
from stalign_assets.planning import Freshness
from stalign_assets.recipes.downstream import ABUNDANCE, ACTIVITY, MARKERS
from stalign_assets.results.tables import key_of_tables
from stalign_assets.study import COHORT_PAGE
from stalign_core.errors import ArtifactError
from stalign_core.files import replace_file
from stalign_core.progress import Progress, silent
from stalign_core.reports import html_page, key_of_page
from stalign_core.store.hashing import digest
from stalign_core.store.store import UNPARTITIONED
from stalign_core.wording import counted

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study

REPORT_VERSION: Final = 3
"""Raised by one when the pages change."""


@dataclass(frozen=True)
class Pages:
    """Pages of a variant, made from what `key` stands for.

    Attributes
    ----------
    cohort, donors
        Files.
    reused
        Whether they were there already.
    """

    variant: str
    key: str
    cohort: Path
    donors: Mapping[str, Path]
    reused: bool

    @property
    def files(self) -> list[Path]:
        """The cohort's page, then the donors'."""
        return [self.cohort, *self.donors.values()]


def write_reports(study: Study, variant: str = "", progress: Progress = silent) -> Pages:
    """Write the cohort's page, one per donor, and the figures as PNG and SVG; each file is replaced as a whole.

    Parameters
    ----------
    study
        Opened; its cohort scope was run.
    variant
        Whose domains are told; empty for `reported_variant`.
    progress
        Told what is being drawn.

    Raises
    ------
    SettingsError
        If there is no such variant.
    ArtifactError
        If it was not run in cohort scope.
    """
    content = ReportContent(study, variant or reported_variant(study.settings))
    return _write(content, _key(content), progress)


def _write(content: ReportContent, key: str, progress: Progress) -> Pages:
    study = content.study
    pages = {donor: study.reports / donor_page(donor) for donor in content.donors}
    study.reports.mkdir(parents=True, exist_ok=True)
    for done, (donor, path) in enumerate(pages.items()):
        progress(f"drawing {path.name}", done, len(pages) + 1)
        replace_file(path, _page_of_donor(content, donor, key))
    _forget_donors_that_left(study, set(pages.values()))
    # Last, so that its key stands for all of them.
    progress(f"drawing {COHORT_PAGE}", len(pages), len(pages) + 1)
    cohort = study.reports / COHORT_PAGE
    replace_file(cohort, _page_of_cohort(content, key))
    _forget_figures(content)
    progress("drawn", len(pages) + 1, len(pages) + 1)
    return Pages(content.variant, key, cohort, pages, reused=False)


def write_donor_report(study: Study, donor: str) -> tuple[Path, str]:
    """Write one donor's page; its file, and what stands for all that it tells.

    Raises
    ------
    ArtifactError
        If the reported variant was not run in cohort scope, or the donor is not in its cohort.
    """
    content = ReportContent(study, reported_variant(study.settings))
    if donor not in content.donors:
        raise ArtifactError(
            f"donor {donor}",
            f"is not in the cohort of variant '{content.variant}'",
            expected="one of " + ", ".join(content.donors),
            remedy="bring the cohort up to date with 'stalign run STUDY'",
        )
    path, key = study.reports / donor_page(donor), _key(content)
    replace_file(path, _page_of_donor(content, donor, key))
    return path, key


def update_reports(study: Study, recipes: Mapping[str, Recipe], progress: Progress = silent) -> Pages | str:
    """Write the pages if the cohort's domains are up to date and anything that the pages tell has changed.

    Returns
    -------
    The pages, or one line that says why there are none of now.
    """
    variant = reported_variant(study.settings)
    if not Freshness(study, recipes).holds(f"cohort/{variant}/domains", UNPARTITIONED):
        return f"the cohort's domains of variant '{variant}' are not up to date"
    content = ReportContent(study, variant)
    key = _key(content)
    pages = {donor: study.reports / donor_page(donor) for donor in content.donors}
    cohort = study.reports / COHORT_PAGE
    if all(key_of_page(path) == key for path in (cohort, *pages.values())) and _have_figures(content):
        return Pages(variant, key, cohort, pages, reused=True)
    return _write(content, key, progress)


def _have_figures(content: ReportContent) -> bool:
    """Whether the maps that every page has lie beside the pages."""
    return all(
        (figures_folder(content.study, donor) / f"{name}.{kind}").is_file()
        for donor in ("", *content.donors)
        for name in sections.names_of_maps(len(content.samples_of(donor)))
        for kind in ("png", "svg")
    )


def _forget_donors_that_left(study: Study, pages: set[Path]) -> None:
    """Remove pages of donors that the cohort does not hold any more."""
    for path in set(study.reports.glob(donor_page("*"))) - pages:
        path.unlink(missing_ok=True)


def _forget_figures(content: ReportContent) -> None:
    """Remove figures that are in no page any more, and the folders of donors that left; what others put there stays."""
    for path in figures_folder(content.study).rglob("*.*"):
        if path.name.startswith(FIGURES) and path.suffix in (".png", ".svg") and path not in content.drawn:
            path.unlink(missing_ok=True)
    for folder in figures_folder(content.study).iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def donor_page(donor: str) -> str:
    """Name of a donor's page."""
    return f"donor_{donor}.html"


def _key(content: ReportContent) -> str:
    """Stands for all that the pages tell."""
    study = content.study
    settings = settings_told(study.settings)
    told = [
        REPORT_VERSION,
        content.variant,
        content.source.domains.manifest.input_key,
        key_of_tables(study.metrics_path),
        settings.to_numpy().tolist(),
        sorted(content.conditions.items()),
        sorted(content.absent.items()),
        content.images_there,
        *_told_of_domains(content),
    ]
    return digest(told)


def _told_of_domains(content: ReportContent) -> Iterator[tuple[str, str]]:
    """What the pages tell of the domains besides where they are, and their tables that lie beside the pages."""
    for kind in (MARKERS, ABUNDANCE, ACTIVITY):
        found = content.told_of_domains(kind)
        yield kind, "" if found is None else found.manifest.input_key
    for table in ("markers", "programs", "activities"):
        yield table, content.csv(table) or ""


def _page_of_cohort(content: ReportContent, key: str) -> str:
    parts = [
        sections.samples(content, ""),
        sections.maps(content, ""),
        sections.composition(content, ""),
        sections.umaps(content),
        *sections.markers(content),
        *sections.abundance(content),
        sections.activity(content),
        *sections.metrics(content),
        made_from(content),
    ]
    return html_page(f"Cohort of {counted(len(content.donors), 'donor')}", _lead(content), parts, key)


def _page_of_donor(content: ReportContent, donor: str, key: str) -> str:
    parts = [
        sections.samples(content, donor),
        sections.maps(content, donor),
        sections.composition(content, donor),
        *sections.umaps_of_donor(content, donor),
        *sections.programs_of_donor(content, donor),
        *sections.metrics_of_donor(content, donor),
        made_from(content),
    ]
    return html_page(f"Donor {donor}", _lead(content), parts, key)


def _lead(content: ReportContent) -> str:
    manifest = content.source.domains.manifest
    return (
        f"Domains of variant '{content.variant}' ({len(content.colors)} domains, joint over "
        f"{counted(len(content.donors), 'donor')}), made {manifest.created[:16].replace('T', ' ')} UTC."
    )

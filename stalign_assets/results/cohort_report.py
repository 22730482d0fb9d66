"""``reports/cohort.html`` and a page per donor: what a scientist reads and passes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from stalign_assets.exporting import CohortSource
from stalign_assets.planning import Freshness
from stalign_assets.results.headline import headline
from stalign_assets.study import COHORT_PAGE
from stalign_core import keys
from stalign_core.errors import SettingsError
from stalign_core.files import replace_file
from stalign_core.progress import Progress, silent
from stalign_core.reports import Section, html_page, html_table, picture, words
from stalign_core.store.store import UNPARTITIONED
from stalign_core.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.plots.tissue_map import TissuePanel

FIGURES_FOLDER: Final = "figures"
PREFERRED_METHODS: Final = ("harmony", "scvi", "scanorama", "uncorrected")
_MARKERS_PER_DOMAIN: Final = 5


def reported_variant(study: Study) -> str:
    """The variant that is told of unless another is named: Harmony's, else the first that corrects."""
    for method in PREFERRED_METHODS:
        for name, variant in study.settings.variants.items():
            if variant.correction == method:
                return name
    raise SettingsError("variants", "is empty", expected="one variant at least")


def write_reports(study: Study, variant: str = "", progress: Progress | None = None) -> list[Path]:
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
    told = progress or silent
    chosen = variant or reported_variant(study)
    if chosen not in study.settings.variants:
        raise SettingsError(
            f"variant '{chosen}'", "is not known", expected="one of " + ", ".join(study.settings.variants)
        )
    report = _Report(study, chosen)
    pages = [("", COHORT_PAGE), *((donor, f"donor_{donor}.html") for donor in report.source.donors)]
    written = []
    for done, (donor, name) in enumerate(pages):
        told(f"drawing {name}", done, len(pages))
        path = study.reports / name
        replace_file(path, report.page(donor))
        written.append(path)
    told("drawn", len(pages), len(pages))
    return written


def update_reports(study: Study, recipes: Mapping[str, Recipe], *, renew: bool, progress: Progress) -> list[Path]:
    """Write the pages if the cohort's domains are up to date and anything changed, or a page is missing.

    Returns
    -------
    The pages that are there.
    """
    variant = reported_variant(study)
    current = Freshness(study, recipes).holds(f"cohort/{variant}/domains", UNPARTITIONED)
    if current and (renew or not (study.reports / COHORT_PAGE).is_file()):
        write_reports(study, variant, progress)
    return sorted(study.reports.glob("*.html"))


class _Report:
    """What is read once and told on every page."""

    def __init__(self, study: Study, variant: str) -> None:
        self.study, self.variant = study, variant
        self.source = CohortSource(study, variant)
        self.table = self.source.table.assign(domain=self.source.table[keys.DOMAIN].astype(str))
        from stalign_core.exports.section import domain_colors

        self.colors = domain_colors(self.table["domain"].unique())
        self.panels = dict(self._panels())
        self.conditions = {sample.sample: sample.condition for sample in study.cohort.samples}
        study.reports.joinpath(FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)

    def page(self, donor: str = "") -> str:
        """The text of the cohort's page, or of a donor's."""
        title = f"Donor {donor}" if donor else f"Cohort of {counted(len(self.source.donors), 'donor')}"
        manifest = self.source.domains.manifest
        lead = (
            f"Domains of variant '{self.variant}' ({len(self.colors)} domains, joint over "
            f"{counted(len(self.source.donors), 'donor')}), made {manifest.created[:16].replace('T', ' ')} UTC."
        )
        sections = [
            self._samples(donor),
            self._maps(donor),
            self._composition(donor),
            *(
                []
                if donor
                else [self._projections(), *self._markers(), *self._abundance(), *self._activity(), *self._metrics()]
            ),
            self._made_from(),
        ]
        return html_page(title, lead, sections)

    def _of(self, donor: str) -> list[tuple[str, str]]:
        return [(each, sample) for each, sample in self.source.samples if donor in ("", each)]

    def _panels(self) -> list[tuple[str, TissuePanel]]:
        from stalign_core.plots.tissue_map import TissuePanel

        of_sample = dict(tuple(self.table.groupby("sample", sort=False)))
        panels = []
        for donor, sample in self.source.samples:
            raw = self.source.raw[donor]
            spots = raw.table(f"{sample}.spots.parquet")
            pictures, scales = self.source.pictures(sample)
            kind = next(iter(pictures), "")
            panel = TissuePanel(
                title=f"{donor} · {sample}",
                spatial=spots[["x", "y"]].to_numpy(dtype=np.float64),
                domains=of_sample[sample].set_index("barcode").loc[spots["barcode"], "domain"].to_numpy(),
                spot_diameter=float(raw.json(f"{sample}.image.json")["spot_diameter"]),
                picture=pictures.get(kind),
                scale=scales.get(kind, 1.0),
            )
            panels.append((sample, panel))
        return panels

    def _samples(self, donor: str) -> Section:
        rows = []
        warnings: dict[str, list[str]] = {}
        for each, sample in self._of(donor):
            summary = self.source.raw[each].manifest.summary["samples"][sample]
            rows.append(
                {
                    "sample": sample,
                    "donor": each,
                    **({"condition": self.conditions.get(sample, "")} if any(self.conditions.values()) else {}),
                    "spots": summary["spots"],
                    "genes detected": summary["genes_detected"],
                    "median counts per spot": summary["median_counts_per_spot"],
                    "annotated spots": summary["spots_annotated"],
                    "image": summary["image"],
                }
            )
            for line in summary["warnings"]:
                warnings.setdefault(line, []).append(sample)
        left_out = [
            f"Donor {name} is left out: {reason}"
            for name, reason in self.source.domains.manifest.donors_left_out.items()
            if not donor
        ]
        return Section("Samples", html_table(pd.DataFrame(rows)) + words([*left_out, *_told_once(warnings)], "warning"))

    def _maps(self, donor: str) -> Section:
        from stalign_core.plots.tissue_map import tissue_maps

        panels = [self.panels[sample] for _, sample in self._of(donor)]
        return Section(
            "Domains on the tissue", self._figure(f"domain_maps{_suffix(donor)}", tissue_maps(panels, self.colors))
        )

    def _composition(self, donor: str) -> Section:
        from stalign_core.plots.composition import composition_bars

        names = [sample for _, sample in self._of(donor)]
        counts = pd.crosstab(self.table["sample"], self.table["domain"]).reindex(index=names, columns=list(self.colors))
        shares = counts.div(counts.sum(axis=1), axis=0)
        return Section(
            "Composition", self._figure(f"composition{_suffix(donor)}", composition_bars(shares, self.colors))
        )

    def _projections(self) -> Section:
        """UMAPs that the domains' own artifacts hold, of the uncorrected variant and of this one."""
        uncorrected = [name for name, each in self.study.settings.variants.items() if each.correction == "uncorrected"]
        bodies = []
        for name in dict.fromkeys([*uncorrected[:1], self.variant]):
            found = self.study.store.current(f"cohort/{name}/domains", UNPARTITIONED)
            if found is not None:
                bodies.append(words([f"Embeddings of variant '{name}':"]))
                bodies.append(picture(found.bytes("umap.png"), f"UMAP of {name}"))
        return Section("Before and after correction", "".join(bodies))

    def _markers(self) -> list[Section]:
        from stalign_core.plots.marker_dots import leading_markers, marker_dots

        found = self.study.store.current(f"cohort/{self.variant}/domain_markers", UNPARTITIONED)
        if found is None:
            return []
        markers = found.table("markers.parquet")
        genes = leading_markers(markers, _MARKERS_PER_DOMAIN, self.study.settings.downstream.min_log2_fold_change)
        if not genes:
            return [Section("Marker genes", words(["No gene stands out in any domain."]))]
        tested = markers["t"].notna().any()
        lead = words(
            [
                (_MARKERS_TESTED if tested else _MARKERS_UNTESTED).format(table=self._csv("markers")),
                *_programs_told(found.table("programs.parquet"), self._csv("programs")),
            ]
        )
        return [Section("Marker genes", lead + self._figure("markers", marker_dots(markers, genes)))]

    def _abundance(self) -> list[Section]:
        """Domains whose share of a sample was compared between the conditions of the sheet."""
        found = self.study.store.current(f"cohort/{self.variant}/domain_abundance", UNPARTITIONED)
        if found is None or len(set(self.conditions.values()) - {""}) < _FEWEST_CONDITIONS:
            return []
        title = "Abundance between conditions"
        if "differences.parquet" not in found.manifest.files:
            return [Section(title, words([_NOT_COMPARED]))]
        return [Section(title, words([_COMPARED]) + html_table(found.table("differences.parquet")))]

    def _activity(self) -> list[Section]:
        from stalign_core.plots.activity_map import activity_map

        found = self.study.store.current(f"cohort/{self.variant}/pathway_activity", UNPARTITIONED)
        if found is None:
            return []
        activities = found.table("activities.parquet")
        if activities.empty:
            return [Section("Pathway activity", words(["No domain has enough spots in any donor."]))]
        fdr = self.study.settings.downstream.fdr
        lead = words(
            [
                "How much a pathway's targets stand out among a domain's fold changes, mean over the donors. A star "
                f"says that q is at most {fdr:g}, for which three donors are needed.",
                f"The numbers are {self._csv('activities')}.",
            ]
        )
        return [Section("Pathway activity", lead + self._figure("pathway_activity", activity_map(activities, fdr)))]

    def _metrics(self) -> list[Section]:
        if not self.study.metrics_path.is_file():
            return []
        table = headline(self.study.metrics_path, self.study.settings).rename_axis(None, axis="columns")
        return [Section("Metrics", words(_METRICS_TOLD) + html_table(table[table["scope"] == "cohort"]))]

    def _made_from(self) -> Section:
        manifest = self.source.domains.manifest
        variant = self.study.settings.variants[self.variant]
        settings = {
            "correction": variant.correction,
            "representation": variant.representation,
            "encoder": variant.encoder,
            "seed": manifest.seed,
            **manifest.settings,
        }
        about = pd.DataFrame({"setting": list(settings), "value": [str(value) for value in settings.values()]})
        versions = pd.DataFrame(sorted(manifest.packages.items()), columns=["package", "version"])
        lines = [
            f"Artifact {manifest.asset}, {manifest.input_key}, run {manifest.run_id}.",
            f"stalign audit STUDY --asset {manifest.asset} prints all that it was made from.",
        ]
        return Section("Made from", words(lines) + html_table(about) + html_table(versions))

    def _csv(self, name: str) -> str:
        """The file beside the page that holds a whole table."""
        return f"{name}_cohort_{self.variant}.csv"

    def _figure(self, name: str, figure: Figure) -> str:
        """Keep a figure as PNG and SVG, and show it."""
        from stalign_core.plots.canvas import to_png, to_svg

        folder = self.study.reports / FIGURES_FOLDER
        png = to_png(figure)
        for path, payload in ((folder / f"{name}.png", png), (folder / f"{name}.svg", to_svg(figure))):
            replace_file(path, payload)
        return picture(png, name.replace("_", " "))


_METRICS_TOLD: Final = (
    "'correction' is the corrected expression alone, 'aestetik' the domains as delivered; variant 'uncorrected' is the "
    "baseline.",
    "Better when higher: ari and nmi (agreement with the annotation, at most 1), silhouette (domains apart in the "
    "embedding), ilisi and kbet (samples mixed, 0 to 1). Better when lower: ari_donor (domains that follow the "
    "donor), chaos and pas (domains torn apart in space). k is the number of domains.",
)
_FEWEST_CONDITIONS: Final = 2
_COMPARED: Final = (
    "Shares of the domains compared between the conditions of the sheet; a donor is one observation, log_ratio is the "
    "difference of centred natural log ratios, and q is p after Benjamini and Hochberg."
)
_NOT_COMPARED: Final = (
    "The conditions of the sheet were not compared: a donor is one observation, so three donors of each, or three that "
    "have both, are needed."
)
_MARKERS_TESTED: Final = (
    "Genes that mark a domain with donors as units (pseudobulk per donor, moderated t test). The whole table is "
    "{table}."
)
_MARKERS_UNTESTED: Final = (
    "Genes whose mean expression in a domain exceeds the rest of the tissue's most, without a test: a donor is one "
    "observation, and fewer than three have enough spots of any domain. The whole table is {table}."
)


def _told_once(warnings: Mapping[str, list[str]]) -> list[str]:
    """Each line with the samples that it is of."""
    return [f"{', '.join(samples)}: {line}" for line, samples in warnings.items()]


def _programs_told(programs: pd.DataFrame, table: str) -> list[str]:
    """How many markers hold in every donor and how many in one alone, or nothing where one donor alone tells."""
    counted = programs["program"].value_counts()
    if not set(counted.index) & {"conserved", "shared", "donor-specific"}:
        return []
    conserved, shared, specific = (counted.get(name, 0) for name in ("conserved", "shared", "donor-specific"))
    return [
        f"Tested within each donor, {conserved} markers are conserved, {shared} shared by some donors, and {specific} "
        f"specific to one; the programs are {table}."
    ]


def _suffix(donor: str) -> str:
    return f"_{donor}" if donor else ""

"""Sections of a page: samples, maps, composition, UMAPs, markers, abundance, pathways, metrics.

A function that takes a donor tells of that donor alone, or of all where it is empty.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from stalign_assets.recipes.downstream import ABUNDANCE, ACTIVITY, MARKERS
from stalign_assets.results.headline import headline, sample_metrics
from stalign_core.reports import Section, html_table, words

if TYPE_CHECKING:
    from stalign_assets.pages.content import ReportContent

_MARKERS_PER_DOMAIN: Final = 5
_FEWEST_CONDITIONS: Final = 2
_FEWEST_DONORS: Final = 2
_MAPS: Final = 30
"""Sections of one figure: as many as can be told apart on a sheet of paper."""
_OTHERS: Final = "other donors"
_OTHERS_COLOR: Final = "#E4E4E4"

_METRICS_TOLD: Final = (
    "'correction' is the corrected expression alone, 'aestetik' the domains as delivered; variant 'uncorrected' is the "
    "baseline.",
    "Better when higher: ari and nmi (agreement with the annotation, at most 1), silhouette (domains apart in the "
    "embedding), ilisi and kbet (samples mixed, 0 to 1). Better when lower: ari_donor (domains that follow the "
    "donor), chaos and pas (domains torn apart in space). k is the number of domains.",
)
_SAMPLE_METRICS_TOLD: Final = (
    "The domains as delivered, sample by sample. Better when higher: ari and nmi (agreement with the annotation). "
    "Better when lower: chaos and pas (domains torn apart in space)."
)
_COMPARED: Final = (
    "Shares of the domains compared between the conditions of the sheet; a donor is one observation, log_ratio is the "
    "difference of centred natural log ratios, and q is p after Benjamini and Hochberg."
)
_NOT_COMPARED: Final = (
    "The conditions of the sheet were not compared: a donor is one observation, so three donors of each, or three that "
    "have both, are needed."
)
_MARKERS_TESTED: Final = "Genes that mark a domain with donors as units (pseudobulk per donor, moderated t test)."
_MARKERS_UNTESTED: Final = (
    "Genes whose mean expression in a domain exceeds the rest of the tissue's most, without a test: a donor is one "
    "observation, and fewer than three have enough spots of any domain."
)
_ACTIVITY_TOLD: Final = (
    "How much a pathway's targets stand out among a domain's fold changes, mean over the donors. A star says that q is "
    "at most {fdr:g}, for which three donors are needed."
)
_NOT_OF_THESE: Final = (
    "Not up to date: nothing of it was made from these domains. 'stalign run STUDY' makes it, or says why it cannot."
)
_NO_NETWORK: Final = (
    "Not computed: downstream.network of study.toml names no table of pathways; docs/guide/pathways.md tells how to "
    "get one."
)
_PROJECTED: Final = (
    "UMAP of {shown} of {spots} spots, each space by itself. Correction should mix the donors and keep the domains "
    "apart."
)


def samples(content: ReportContent, donor: str) -> Section:
    """What was read of each sample, and what was found odd about it."""
    rows = []
    warnings: dict[str, list[str]] = {}
    for each, sample in content.samples_of(donor):
        summary = content.source.raw[each].manifest.summary["samples"][sample]
        rows.append(
            {
                "sample": sample,
                "donor": each,
                **({"condition": content.conditions.get(sample, "")} if any(content.conditions.values()) else {}),
                "spots": summary["spots"],
                "genes detected": summary["genes_detected"],
                "median counts per spot": summary["median_counts_per_spot"],
                "annotated spots": summary["spots_annotated"],
                "image": summary["image"],
            }
        )
        for line in summary["warnings"]:
            warnings.setdefault(line, []).append(sample)
    absent = [] if donor else [f"Donor {name} {reason}." for name, reason in content.absent.items()]
    lines = [*absent, *(f"{', '.join(of)}: {line}" for line, of in warnings.items())]
    return Section("Samples", html_table(pd.DataFrame(rows)) + words(lines, "warning"))


def maps(content: ReportContent, donor: str) -> Section:
    """Domains over the H&E of each sample, one colour per domain throughout."""
    from stalign_core.plots.tissue_map import tissue_maps

    panels = [content.panel(*place) for place in content.samples_of(donor)]
    figures = [
        content.figure(name, tissue_maps(panels[part * _MAPS : (part + 1) * _MAPS], content.colors), donor)
        for part, name in enumerate(names_of_maps(len(panels)))
    ]
    unseen = [place[1] for place in content.samples_of(donor) if content.lacks_its_picture(*place)]
    told = words(
        [f"{', '.join(unseen)}: the image cannot be read now, so spots lie on white."] if unseen else [], "warning"
    )
    return Section("Domains on the tissue", told + "".join(figures))


def composition(content: ReportContent, donor: str) -> Section:
    """The share of each domain: of each donor's spots, and of each sample's."""
    from stalign_core.plots.composition import composition_bars

    own = content.spots_of(donor)
    bodies = []
    for unit in ("sample",) if donor else ("donor", "sample"):
        order = list(dict.fromkeys(place[unit == "sample"] for place in content.samples_of(donor)))
        counts = pd.crosstab(own[unit], own["domain"]).reindex(index=order, columns=list(content.colors), fill_value=0)
        figure = composition_bars(counts.div(counts.sum(axis=1), axis=0), content.colors)
        name = "composition" if unit == "sample" else "composition_of_donors"
        bodies.append(words([f"Of each {unit}:"]) + content.figure(name, figure, donor))
    return Section("Composition", "".join(bodies))


def umaps(content: ReportContent) -> Section:
    """Expression, morphology and the embedding, before and after, by donor and by domain."""
    from stalign_core.plots.projection import projection_grid

    drawn = content.projections
    origin = ("donor", drawn.donor) if len(content.donors) > 1 else ("sample", drawn.sample)
    colorings = {origin[0]: origin[1], "domain": drawn.domain}
    bodies = [words([_PROJECTED.format(shown=len(drawn.domain), spots=len(content.table))])]
    for name, projections in (("umaps", drawn.expression), ("umaps_of_morphology", drawn.morphology)):
        if projections:
            figure = projection_grid(projections, colorings, {"domain": content.colors})
            bodies.append(content.figure(name, figure))
    return Section("Before and after correction", "".join(bodies))


def umaps_of_donor(content: ReportContent, donor: str) -> list[Section]:
    """Where the donor's spots lie among those of all others, if there are others."""
    from stalign_core.plots.projection import projection_grid

    if len(content.donors) == 1:
        return []
    drawn = content.projections
    domains = np.where(drawn.donor == donor, drawn.domain, _OTHERS)
    colors = {"domain": {**content.colors, _OTHERS: _OTHERS_COLOR}}
    figure = projection_grid(drawn.expression, {"domain": domains}, colors)
    return [Section("Among the other donors", content.figure("umaps", figure, donor))]


def markers(content: ReportContent) -> list[Section]:
    """Leading marker genes of each domain, as a dot plot."""
    from stalign_core.plots.marker_dots import leading_markers, marker_dots

    title = "Marker genes"
    found = content.told_of_domains(MARKERS)
    if found is None:
        return [_not_of_these_domains(title)]
    table = found.table("markers.parquet")
    genes = leading_markers(table, _MARKERS_PER_DOMAIN, content.study.settings.downstream.min_log2_fold_change)
    if not genes:
        return [Section(title, words(["No gene stands out in any domain."]))]
    told = _MARKERS_TESTED if table["t"].notna().any() else _MARKERS_UNTESTED
    lead = words(
        [
            _with_file(told, "The whole table is {}.", content.csv("markers")),
            *_programs_told(found.table("programs.parquet"), content.csv("programs")),
        ]
    )
    return [Section(title, lead + content.figure("markers", marker_dots(table, genes)))]


def programs_of_donor(content: ReportContent, donor: str) -> list[Section]:
    """How many genes mark each domain within the donor, and which do in no other."""
    if len(content.donors) < _FEWEST_DONORS:
        return []
    if content.told_of_domains(MARKERS) is None:
        return [_not_of_these_domains("Marker genes")]
    own = content.programs_of(donor)
    if own.empty:
        return []
    rows = []
    for domain, genes in own.groupby("domain", sort=False):
        alone = genes[genes["program"] == "donor-specific"]["symbol"].astype(str)
        rows.append(
            {
                "domain": domain,
                "marker genes": len(genes),
                "conserved": int((genes["program"] == "conserved").sum()),
                "in this donor alone": len(alone),
                "the first of them": ", ".join(alone.iloc[:_MARKERS_PER_DOMAIN]),
            }
        )
    told = "Genes that mark a domain when tested within this donor."
    lead = words([_with_file(told, "All are in {}.", content.csv("programs"))])
    return [Section("Marker genes", lead + html_table(pd.DataFrame(rows)))]


def abundance(content: ReportContent) -> list[Section]:
    """Domains whose share of a sample was compared between the conditions of the sheet."""
    if len(set(content.conditions.values()) - {""}) < _FEWEST_CONDITIONS:
        return []
    title = "Abundance between conditions"
    found = content.told_of_domains(ABUNDANCE)
    if found is None:
        return [_not_of_these_domains(title)]
    if "differences.parquet" not in found.manifest.files:
        return [Section(title, words([_NOT_COMPARED]))]
    return [Section(title, words([_COMPARED]) + html_table(found.table("differences.parquet")))]


def activity(content: ReportContent) -> Section:
    """Pathways that are more or less active in a domain than elsewhere."""
    from stalign_core.plots.activity_map import activity_map

    title = "Pathway activity"
    if not content.study.settings.downstream.network:
        return Section(title, words([_NO_NETWORK]))
    found = content.told_of_domains(ACTIVITY)
    if found is None:
        return _not_of_these_domains(title)
    activities = found.table("activities.parquet")
    if activities.empty:
        return Section(title, words(["No domain has enough spots in any donor."]))
    fdr = content.study.settings.downstream.fdr
    lead = words([_with_file(_ACTIVITY_TOLD.format(fdr=fdr), "The numbers are {}.", content.csv("activities"))])
    return Section(title, lead + content.figure("pathway_activity", activity_map(activities, fdr)))


def metrics(content: ReportContent) -> list[Section]:
    """Each variant beside the uncorrected baseline."""
    if not content.study.metrics_path.is_file():
        return []
    table = headline(content.study.metrics_path, content.study.settings).rename_axis(None, axis="columns")
    return [Section("Metrics", words(_METRICS_TOLD) + html_table(table[table["scope"] == "cohort"]))]


def metrics_of_donor(content: ReportContent, donor: str) -> list[Section]:
    """The delivered domains, sample by sample."""
    if not content.study.metrics_path.is_file():
        return []
    table = sample_metrics(content.study.metrics_path, content.study.settings, content.variant, donor)
    return [] if table.empty else [Section("Metrics", words([_SAMPLE_METRICS_TOLD]) + html_table(table))]


def _not_of_these_domains(title: str) -> Section:
    return Section(title, words([_NOT_OF_THESE], "warning"))


def _with_file(told: str, sentence: str, file: str | None) -> str:
    """What is told, and in a sentence of its own the file that holds all of it, if that is there."""
    return told if file is None else f"{told} {sentence.format(file)}"


def _programs_told(programs: pd.DataFrame, table: str | None) -> list[str]:
    """How many markers hold in every donor and how many in one alone, or nothing where one donor alone tells."""
    by_program = programs["program"].value_counts()
    if not set(by_program.index) & {"conserved", "shared", "donor-specific"}:
        return []
    conserved, shared, specific = (by_program.get(name, 0) for name in ("conserved", "shared", "donor-specific"))
    told = (
        f"Tested within each donor, {conserved} markers are conserved, {shared} shared by some donors, and {specific} "
        "specific to one."
    )
    return [_with_file(told, "The programs are {}.", table)]


def names_of_maps(n_sections: int) -> list[str]:
    """Of the figures that hold so many sections: the first has no number."""
    n_figures = math.ceil(n_sections / _MAPS)
    return ["domain_maps", *(f"domain_maps_{number}" for number in range(2, n_figures + 1))]

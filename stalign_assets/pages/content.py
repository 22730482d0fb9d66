"""What is read once of a study, and told on every page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from stalign_assets.exporting import CohortSource
from stalign_assets.pages.umaps import ProjectedSpots, project_spots
from stalign_assets.recipes.downstream import MARKERS
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.downstream_tables import table_file
from stalign_assets.results.of_domains import made_of_domains
from stalign_assets.wanted import reason_left_out
from stalign_core import keys
from stalign_core.errors import SettingsError, StalignError
from stalign_core.files import replace_file
from stalign_core.reports import picture

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from stalign_assets.study import Study
    from stalign_core.cohort import Sample
    from stalign_core.plots.tissue_map import TissuePanel
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact

FIGURES_FOLDER: Final = "figures"
FIGURES: Final = ("domain_maps", "composition", "umaps", "markers", "pathway_activity")
"""What the names of all figures begin with."""
PREFERRED_METHODS: Final = ("harmony", "scvi", "scanorama", "uncorrected")


def reported_variant(settings: Settings) -> str:
    """The variant that is told of unless another is named: Harmony's, else the next preferred one, or the first."""
    for method in PREFERRED_METHODS:
        for name, variant in settings.variants.items():
            if variant.correction == method:
                return name
    if not settings.variants:
        raise SettingsError("variants", "is empty", expected="one variant at least")
    return next(iter(settings.variants))


def figures_folder(study: Study, donor: str = "") -> Path:
    """Where the figures of a donor's page lie, or those of the cohort's."""
    return study.reports / FIGURES_FOLDER / donor


class ReportContent:
    """A variant's results of a whole cohort.

    Raises
    ------
    SettingsError
        If there is no such variant.
    ArtifactError
        If it was not run in cohort scope.
    """

    def __init__(self, study: Study, variant: str) -> None:
        from stalign_core.exports.section import domain_colors

        if variant not in study.settings.variants:
            raise SettingsError(
                f"variant '{variant}'", "is not known", expected="one of " + ", ".join(study.settings.variants)
            )
        self.study, self.variant = study, variant
        self.source = CohortSource(study, variant)
        self.table = self.source.table.assign(domain=self.source.table[keys.DOMAIN].astype(str))
        self.colors = domain_colors(self.table["domain"].unique())
        self.conditions = {sample.sample: sample.condition for sample in study.cohort.samples}
        self._recipes = recipes_of(study.settings)
        self.absent = dict(self._absent())
        self._of_sample = dict(tuple(self.table.groupby("sample", sort=False)))
        self.drawn: set[Path] = set()
        """Files of the figures that were drawn."""
        self._panels: dict[str, TissuePanel] = {}
        self._told: dict[str, Artifact | None] = {}

    @property
    def donors(self) -> tuple[str, ...]:
        """Donors of the cohort."""
        return self.source.donors

    def samples_of(self, donor: str) -> list[tuple[str, str]]:
        """Donor and sample of a donor's samples; of all donors if none is named."""
        return [(each, sample) for each, sample in self.source.samples if donor in ("", each)]

    def spots_of(self, donor: str) -> pd.DataFrame:
        """Spots of a donor's samples with their domains; of all donors if none is named."""
        if not donor:
            return self.table
        return pd.concat([self._of_sample[sample] for _, sample in self.samples_of(donor)])

    def programs_of(self, donor: str) -> pd.DataFrame:
        """Genes that mark a domain when tested within this donor; no rows where nothing was tested."""
        table, rows_of_donor = self._programs
        return table.iloc[rows_of_donor.get(donor, [])]

    def told_of_domains(self, kind: str) -> Artifact | None:
        """What tells of these domains, such as ``"domain_markers"``; None where it is of an earlier integration's.

        Looked up once: all pages tell of the same artifact.
        """
        if kind not in self._told:
            asset = f"cohort/{self.variant}/{kind}"
            self._told[kind] = made_of_domains(self.study, self._recipes, asset, self.source.domains)
        return self._told[kind]

    def panel(self, donor: str, sample: str) -> TissuePanel:
        """What the map of a sample shows; read once, with a picture no larger than a figure needs."""
        if sample not in self._panels:
            self._panels[sample] = self._read_panel(donor, sample)
        return self._panels[sample]

    @cached_property
    def projections(self) -> ProjectedSpots:
        """UMAPs before and after correction, of the same spots."""
        return project_spots(self.source)

    @cached_property
    def _programs(self) -> tuple[pd.DataFrame, Mapping[str, list[int]]]:
        """The table of programs, a row per gene that marks a domain, and which of the rows tell of each donor."""
        found = self.told_of_domains(MARKERS)
        if found is None:
            return pd.DataFrame(), {}
        table = found.table("programs.parquet")
        rows_of_donor: dict[str, list[int]] = {}
        for row, donors in enumerate(table["donors"]):
            for donor in donors.split(", "):
                rows_of_donor.setdefault(donor, []).append(row)
        return table, rows_of_donor

    def lacks_its_picture(self, donor: str, sample: str) -> bool:
        """Whether a sample was read with an image that cannot be shown now."""
        had = self.source.raw[donor].manifest.summary["samples"][sample]["image"] != "none"
        return had and self.panel(donor, sample).picture is None

    @property
    def images_there(self) -> list[str]:
        """Samples whose image lies where the sheet says."""
        return [each.sample for each in self.study.cohort.samples if _has_image(each)]

    def csv(self, name: str) -> str | None:
        """The file beside the page that holds a whole table, if it is there."""
        file = table_file(name, self.variant)
        return file if (self.study.reports / file).is_file() else None

    def figure(self, name: str, figure: Figure, donor: str = "") -> str:
        """Keep a figure as PNG and SVG; the HTML that shows it."""
        from stalign_core.plots.canvas import to_png, to_svg

        folder = figures_folder(self.study, donor)
        folder.mkdir(parents=True, exist_ok=True)
        png = to_png(figure)
        for path, payload in ((folder / f"{name}.png", png), (folder / f"{name}.svg", to_svg(figure))):
            replace_file(path, payload)
            self.drawn.add(path)
        return picture(png, name.replace("_", " "))

    def _absent(self) -> Iterator[tuple[str, str]]:
        """Donors of the sheet that the cohort lacks now, and why."""
        for donor in self.study.cohort.donors:
            reason = reason_left_out(self.study, self._recipes, donor)
            if reason is not None:
                yield donor, f"is left out: {reason}"
            elif donor not in self.donors:
                yield donor, "is not in this cohort yet"

    def _read_panel(self, donor: str, sample: str) -> TissuePanel:
        from stalign_core.images import reduce_pixels
        from stalign_core.plots.tissue_map import LONGEST_SIDE, TissuePanel

        raw = self.source.raw[donor]
        spots = raw.table(f"{sample}.spots.parquet")
        domain_of = self._of_sample[sample].set_index("barcode")["domain"]
        pictures, scales = self.source.pictures(sample)
        picture, scale = None, 1.0
        for kind, pixels in pictures.items():
            picture, reduced = reduce_pixels(pixels, LONGEST_SIDE)
            scale = scales[kind] * reduced
        return TissuePanel(
            title=f"{donor} · {sample}",
            spatial=spots[["x", "y"]].to_numpy(dtype=np.float64),
            domains=domain_of.loc[spots["barcode"]].to_numpy(),
            spot_diameter=float(raw.json(f"{sample}.image.json")["spot_diameter"]),
            picture=picture,
            scale=scale,
        )


def _has_image(sample: Sample) -> bool:
    from stalign_core.readers.pictures import image_file

    try:
        path = image_file(sample)
    except StalignError:
        return False
    return path is not None and path.exists()

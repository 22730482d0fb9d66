"""Samples that a study does not hold, placed in its trained cohort: nothing is fitted, and the study stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from stalign_assets.stored_reference import stored_reference
from stalign_core.cohort import read_sample_sheet
from stalign_core.correction.registry import METHODS
from stalign_core.errors import SettingsError
from stalign_core.files import replace_file
from stalign_core.mapping.section import map_section
from stalign_core.progress import Progress, silent
from stalign_core.readers.native_probe import check_native_files
from stalign_core.readers.sample import read_sample, source_files

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.cohort import Sample
    from stalign_core.mapping.section import MappedSection
    from stalign_core.morphology.encoders.loading import Encoder
    from stalign_core.settings import Settings

MAPPED_FOLDER: Final = "mapped"
"""Of the reports: tables of mapped samples, by variant."""
PREFERRED_METHODS: Final = ("harmony", "scvi", "uncorrected")


@dataclass(frozen=True)
class MappedSample:
    """What became of one new sample.

    Attributes
    ----------
    table
        CSV with a row per spot.
    spots, genes_missing, spots_unlike
        How many spots it has; panel genes it lacks; spots that resemble nothing in the cohort.
    mean_confidence
        Of the spots' domains.
    warnings
        Of reading it.
    """

    sample: str
    donor: str
    table: Path
    spots: int
    genes_missing: int
    spots_unlike: int
    mean_confidence: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "table": str(self.table)}


def map_onto_cohort(
    study: Study, sheet: Path, variant: str = "", folder: Path | None = None, progress: Progress | None = None
) -> tuple[MappedSample, ...]:
    """Name the domains of new samples after a study's cohort, one sample in memory at a time.

    Parameters
    ----------
    study
        Opened; its cohort scope was run. The domains in force are meant, of the donors that they were made from.
    sheet
        Sample sheet of the new samples.
    variant
        What they are placed in; empty for the first that can place new samples, Harmony's before scVI's before
        the uncorrected.
    folder
        Where the tables go; None for ``reports/mapped/<variant>`` of the study. A table is replaced as a whole.
    progress
        Told what is being done.

    Raises
    ------
    SampleSheetError, InputDataError, ImageError
        If the sheet or a sample cannot be used; the tables of samples before it stay.
    SettingsError, CorrectionError, ArtifactError
        If the variant is unknown, cannot place new samples, or was not run.
    StudyError
        If settings or code changed since the variant was run.
    """
    told = progress or silent
    samples = read_sample_sheet(sheet).samples
    chosen = variant or _preferred_variant(study.settings)
    if chosen not in study.settings.variants:
        raise SettingsError(
            f"variant '{chosen}'", "is none of the study's", expected="one of " + ", ".join(study.settings.variants)
        )
    told("loading the trained cohort", 0, len(samples))
    reference = stored_reference(study, chosen)
    target = folder or study.reports / MAPPED_FOLDER / chosen
    target.mkdir(parents=True, exist_ok=True)
    encoder: Encoder | None = None
    mapped = []
    for done, sample in enumerate(samples):
        told(f"mapping {sample.sample}", done, len(samples))
        check_native_files(source_files(sample))
        section = read_sample(sample)
        facts = section.uns["stalign"]
        if encoder is None and facts["image"] and reference.reads_images:
            encoder = reference.load_encoder()
        found = map_section(section, reference, encoder, told)
        mapped.append(_written(sample, found, section.obs_names.to_numpy(), target, tuple(facts["warnings"])))
    told("mapped samples", len(samples), len(samples))
    return tuple(mapped)


def _preferred_variant(settings: Settings) -> str:
    mapping = [name for name, method in METHODS.items() if method.maps]
    for method in dict.fromkeys((*PREFERRED_METHODS, *mapping)):
        for name, variant in settings.variants.items():
            if variant.correction == method and variant.representation == "pca":
                return name
    raise SettingsError(
        "variants",
        "none can place new samples",
        expected="one of correction " + " or ".join(mapping),
        remedy="add one to study.toml and run the study",
    )


def _written(
    sample: Sample, found: MappedSection, barcodes: Any, folder: Path, warnings: tuple[str, ...]
) -> MappedSample:
    table = pd.DataFrame(
        {
            "sample": sample.sample,
            "donor": sample.donor,
            "barcode": barcodes,
            "domain": found.domain,
            "domain_unrefined": found.domain_unrefined,
            "confidence": found.confidence.round(6),
            "unlike_reference": found.unlike,
            "has_morphology": found.has_morphology,
        }
    )
    path = folder / f"{sample.sample}.csv"
    replace_file(path, table.to_csv(index=False, lineterminator="\n"))
    return MappedSample(
        sample=sample.sample,
        donor=sample.donor,
        table=path,
        spots=len(table),
        genes_missing=len(found.missing_genes),
        spots_unlike=int(found.unlike.sum()),
        mean_confidence=float(found.confidence.mean()),
        warnings=warnings,
    )

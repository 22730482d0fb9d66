"""What each data set of the paper consists of (its Tables 2 and 3, and appendix A.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from stalign_core.datasets.files import RemoteFile, libd_files, lung_files
from stalign_core.domains.annotation import IGNORED_LABELS
from stalign_core.settings import BenchmarkTask, Settings, parse_settings


@dataclass(frozen=True)
class Section:
    """One tissue section; `region` is empty where the paper names none."""

    sample: str
    donor: str
    region: str = ""


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Attributes
    ----------
    name
        As `stalign_core.datasets.DATASETS` has it.
    source
        Where it is published.
    access
        How it is had.
    task
        Which of the paper's tasks it serves.
    sections
        Those that take part.
    files
        As they are published; none where they are had upon request.
    no_tissue
        Labels of spots that the annotation assigns to no tissue.
    """

    name: str
    source: str
    access: str
    task: BenchmarkTask
    sections: tuple[Section, ...]
    files: tuple[RemoteFile, ...] = ()
    no_tissue: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """Of a study of it: the paper's task alone is benchmarked, and labels that name no tissue are ignored."""
        ignored = dict.fromkeys((*IGNORED_LABELS, *self.no_tissue))
        return parse_settings({"domains": {"ignored_labels": [*ignored]}, "benchmark": {"tasks": [self.task]}})

    @property
    def donors(self) -> dict[str, list[str]]:
        """Samples of each donor."""
        found: dict[str, list[str]] = {}
        for section in self.sections:
            found.setdefault(section.donor, []).append(section.sample)
        return found


def _libd() -> tuple[Section, ...]:
    firsts = {"Donor1": 151507, "Donor2": 151669, "Donor3": 151673}
    return tuple(
        Section(str(first + step), donor, "Anterior" if step < 2 else "Posterior")
        for donor, first in firsts.items()
        for step in range(4)
    )


def _tumor_profiler() -> tuple[Section, ...]:
    n_regions = {
        "MACEGEJ": 2,
        "MAHEFOG": 1,
        "MAJOFIJ": 2,
        "MAKYGIW": 1,
        "MANOFYB": 1,
        "MELIPIT": 1,
        "MIDEKOG": 1,
    }
    return tuple(
        Section(f"{donor}-{region}-{replicate}", donor, f"Region {region}")
        for donor, count in n_regions.items()
        for region in range(1, count + 1)
        for replicate in (1, 2)
    )


_DATASETS: Final = (
    Dataset("libd", "https://research.libd.org/spatialLIBD/", "public", "single_donor", _libd(), libd_files()),
    Dataset(
        "usz_lung",
        "https://zenodo.org/records/14620362",
        "public",
        "multi_donor",
        # The paper leaves LC4 out for its low quality; each section is of another patient.
        tuple(Section(name, name) for name in ("LC1", "LC2", "LC3", "LC5")),
        lung_files(),
        # As the files have it, and as the paper writes it.
        no_tissue=("UNASSIGNED", "Unassigned"),
    ),
    Dataset(
        "tumor_profiler",
        "https://doi.org/10.1101/2024.06.04.24308256",
        "upon request",
        "multi_donor",
        _tumor_profiler(),
    ),
)

DATASETS: Final[Mapping[str, Dataset]] = MappingProxyType({dataset.name: dataset for dataset in _DATASETS})
"""The paper's data sets by name."""

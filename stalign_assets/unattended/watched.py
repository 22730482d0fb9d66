"""A study as a watcher sees it: nothing that would take long is done to look at it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from stalign_assets.recipes.samples import RAW, used_encoders, weights_file
from stalign_assets.study import DAGSTER_FOLDER, Study
from stalign_core.errors import StalignError
from stalign_core.store.fingerprints import KnownFingerprints, stamp_of
from stalign_core.store.hashing import digest

if TYPE_CHECKING:
    from pathlib import Path

    from stalign_assets.recipes.recipe import Recipe
    from stalign_core.cohort import Sample


class WatchedStudy(Study):
    """A study that takes the hashes of raw files from memory: a file that was not hashed yet counts as changed.

    Hashing a slide takes a minute, and a watcher's look is cut off after one; a run hashes what it reads anyhow.
    """

    @cached_property
    def fingerprints(self) -> KnownFingerprints:
        """Remembered hashes of raw files, and no others."""
        return KnownFingerprints(self.folder / DAGSTER_FOLDER / "fingerprints.json")


def watched(study: Study) -> WatchedStudy:
    """The same study, for a look at it."""
    return WatchedStudy(study.folder, study.settings, study.cohort)


def state_of_donor(study: Study, recipes: Mapping[str, Recipe], assets: list[str], donor: str) -> str:
    """Hash of all that a donor's own assets follow from, files told by size, time and inode, or by their absence.

    It says which attempts were at the same thing; whether there is work to do, the input keys say.
    """
    rows = [
        [sample.sample, str(sample.path), str(sample.image), str(sample.annotation), sample.bin, sample.table]
        for sample in study.cohort.samples_of(donor)
    ]
    return digest(
        {
            "rows": rows,
            "settings": study.settings_hash,
            "code": {asset: recipes[asset].code_version for asset in assets},
            "files": _looks_of_files(study, recipes, assets, donor),
        }
    )


def _looks_of_files(
    study: Study, recipes: Mapping[str, Recipe], assets: list[str], donor: str
) -> dict[str, list[int] | str]:
    """Stamps of raw files and weights; of an asset whose files are not all there, what is wrong with them.

    Of sections that are not all there, what is there already is looked at, so that one that is still being copied is
    seen to grow.
    """
    looks: dict[str, list[int] | str] = {}
    for asset in assets:
        sources: Any = recipes[asset].sources
        try:
            found = [] if sources is None else [source.path for source in sources(study, donor)]
        except StalignError as error:
            looks[asset] = error.problem
            found = _there_already(study, donor) if asset == RAW else []
        looks.update((str(path), stamp_of(path)) for path in found if str(path) not in looks)
    for encoder in used_encoders(study.settings):
        try:
            weights = weights_file(study, encoder)
        except StalignError:
            continue
        if weights is not None:
            looks[str(weights)] = stamp_of(weights)
    return looks


def _there_already(study: Study, donor: str) -> list[Path]:
    """What there is of the raw files of a donor whose sections are not complete."""
    return list(chain.from_iterable(map(_parts_of, study.cohort.samples_of(donor))))


def _parts_of(sample: Sample) -> list[Path]:
    """What there is of a sample; nothing where it cannot be looked for: then the fault says so."""
    from stalign_core.images import is_zarr_group
    from stalign_core.readers import parts_of_section

    try:
        parts = parts_of_section(sample.path, sample.bin, sample.table)
        if sample.image is not None and (sample.image.is_file() or is_zarr_group(sample.image)):
            parts.append(sample.image)
        if sample.annotation is not None and sample.annotation.is_file():
            parts.append(sample.annotation)
    except (StalignError, OSError):
        return []
    return parts

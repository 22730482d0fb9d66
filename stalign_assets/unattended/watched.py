"""A study as a watcher sees it: nothing that would take long is done to look at it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stalign_assets.recipes.samples import used_encoders, weights_file
from stalign_assets.study import DAGSTER_FOLDER, Study
from stalign_core.errors import StalignError
from stalign_core.store.fingerprints import KnownFingerprints, stamp_of
from stalign_core.store.hashing import digest

if TYPE_CHECKING:
    from pathlib import Path

    from stalign_assets.recipes.recipe import Recipe


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
    """Hash of all that a donor's own assets follow from, files told by size, time and inode.

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
            "files": {str(path): stamp_of(path) for path in _files_of_donor(study, recipes, assets, donor)},
        }
    )


def _files_of_donor(study: Study, recipes: Mapping[str, Recipe], assets: list[str], donor: str) -> list[Path]:
    """Raw files and weights, as far as they can be told."""
    files: list[Path] = []
    for asset in assets:
        sources: Any = recipes[asset].sources
        try:
            files += [source.path for source in sources(study, donor)] if sources is not None else []
        except StalignError:
            continue
    for encoder in used_encoders(study.settings):
        try:
            weights = weights_file(study, encoder)
        except StalignError:
            continue
        files += [weights] if weights is not None else []
    return files

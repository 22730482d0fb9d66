"""What a variant's domains in force were made from, whatever became of the study since."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from stalign_assets.differences import differences_of_making
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import KeyContext
from stalign_assets.recipes.samples import RAW
from stalign_core.errors import ArtifactError, StudyError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.store import Artifact, InputRecord


class Origins:
    """The artifacts behind domains, for use beside the study's settings of now.

    Donors may have come to the sheet since, or left it, and other variants may have been run: the artifacts are still
    those that the domains are of. Each must have been made by the code, settings and seed of now, so that nothing of
    these is put beside results of others.

    Parameters
    ----------
    study
        Opened.
    domains
        The artifact of domains in force, of one of the study's variants.

    Raises
    ------
    StudyError
        If the domains were made by other code, settings or another seed.
    ArtifactError
        If what they were made from is not there any more.
    """

    def __init__(self, study: Study, domains: Artifact) -> None:
        self._study = study
        self._recipes = recipes_of(study.settings)
        self._domains = domains
        self.donors = domains.manifest.donors
        self._check(domains)

    def made_from(self, artifact: Artifact, asset: str, partition: str | None = None) -> Artifact:
        """The artifact of `asset` that `artifact` was made from; of its own partition unless another is named.

        Where one of the same content, as far as it was read, has come into force since, that one: the terms of a
        correction lie beside what is read of it, and may be made anew alone.

        Raises
        ------
        StudyError
            If it was made from no such asset, or that by other code, settings or another seed.
        ArtifactError
            If it is not there any more.
        """
        partition = partition or artifact.manifest.partition
        records = [each for each in artifact.manifest.inputs if (each.asset, each.partition) == (asset, partition)]
        if not records:
            raise _outdated(artifact, f"it was not made from {asset}")
        found = self._in_force(artifact, records) or self._study.store.find(asset, partition, records[0].input_key)
        if found is None:
            raise ArtifactError(
                asset if partition == UNPARTITIONED else f"{asset} of {partition}",
                f"from which {artifact.name} was made is not in the store any more",
                remedy="make it again with 'stalign run STUDY'",
            )
        self._check(found)
        return found

    def of_donors(self, artifact: Artifact, asset: str) -> dict[str, Artifact]:
        """What `artifact` was made from of each donor, as in `made_from`."""
        return {donor: self.made_from(artifact, asset, donor) for donor in self.donors}

    @cached_property
    def _raw(self) -> dict[str, Artifact]:
        return self.of_donors(self._domains, RAW)

    def _in_force(self, artifact: Artifact, records: list[InputRecord]) -> Artifact | None:
        asset, partition = records[0].asset, records[0].partition
        current = self._study.store.current(asset, partition)
        if current is None:
            return None
        declared = self._recipes[artifact.manifest.asset].inputs
        as_read = {current.used_hash(each.files) for each in declared if each.asset == asset}
        return current if as_read == {record.used for record in records} else None

    def _check(self, artifact: Artifact) -> None:
        """Refuse what a run would make otherwise; how raw files were read shows in what came of it."""
        manifest = artifact.manifest
        recipe = self._recipes[manifest.asset]
        if recipe.sources is not None:
            return
        donors = self.donors if manifest.partition == UNPARTITIONED else (manifest.partition,)
        settings = recipe.settings(KeyContext(self._study, manifest.partition, donors, {RAW: self._raw}))
        seed = self._study.settings.seed if recipe.seeded else 0
        differing = differences_of_making(manifest, recipe.code_version, settings, seed)
        if differing:
            raise _outdated(artifact, "; ".join(differing))


def _outdated(artifact: Artifact, reason: str) -> StudyError:
    return StudyError(
        artifact.name, f"is not what a run would make now ({reason})", remedy="run 'stalign run STUDY' first"
    )

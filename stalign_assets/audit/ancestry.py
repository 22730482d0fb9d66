"""An artifact and all that it was made from, found in the store by the manifests alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stalign_assets.wanted import partitions_in_force
from stalign_core.errors import ArtifactError, MissingArtifactError, StudyError
from stalign_core.naming import NAME_RULE, is_safe_name
from stalign_core.progress import Progress, silent
from stalign_core.store import Artifact, InputRecord
from stalign_core.store.manifest import MANIFEST
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Store

Place = tuple[str, str, str]
"""Asset, partition and input key of an artifact."""


@dataclass(frozen=True)
class Ancestry:
    """An artifact with all that it was made from.

    Attributes
    ----------
    root
        The artifact that is asked about.
    in_force
        Whether it is the one that its pointer names.
    retained
        Every artifact of its asset and partition that the store still holds, newest first.
    artifacts
        The root first, then what it was made from, each before its own inputs.
    faults
        One line for each input that cannot be followed: not retained, damaged, or made anew with other content.
    """

    root: Artifact
    in_force: bool
    retained: tuple[Artifact, ...]
    artifacts: tuple[Artifact, ...]
    faults: tuple[str, ...]


def ancestry_of(store: Store, root: Artifact, progress: Progress = silent) -> Ancestry:
    """Follow the inputs of `root` to raw files; how many artifacts there are shows as they are followed."""
    found: dict[Place, Artifact] = {place_of(root): root}
    faults: dict[str, None] = {}
    pending = [root]
    while pending:
        progress("reading manifests", len(found) - len(pending), len(found))
        artifact = pending.pop(0)
        for record in artifact.manifest.inputs:
            place = (record.asset, record.partition, record.input_key)
            if place not in found:
                upstream = _find(store, record, faults)
                if upstream is None:
                    continue
                found[place] = upstream
                pending.append(upstream)
            if found[place].manifest.data_version != record.data_version:
                faults[_made_anew(artifact, record, found[place])] = None
    manifest = root.manifest
    retained = tuple(retained_of(store, manifest.asset, manifest.partition))
    return Ancestry(root, _is_in_force(store, root), retained, tuple(_ordered(found)), tuple(faults))


def artifact_asked_for(
    study: Study, recipes: Mapping[str, Recipe], *, asset: str | None, donor: str | None, key: str | None
) -> Artifact:
    """The artifact that a command's words mean: the one in force of an asset, or any retained one by its key.

    Parameters
    ----------
    key
        An input key, or the beginning of one that no other artifact shares.

    Raises
    ------
    StudyError
        If the words name no artifact, or more than one.
    """
    _check_names(asset, donor)
    if key is not None:
        return _by_key(study.store, key, asset, donor)
    if asset is None:
        raise StudyError("--asset", "is missing", remedy="name an asset, or an artifact by --artifact")
    partition = _partition_of(study, recipes, asset, donor)
    current = study.store.current(asset, partition)
    if current is not None:
        return current
    known = _partitions(study, recipes, asset)
    raise StudyError(
        f"asset {asset}" + ("" if partition == UNPARTITIONED else f" of {partition}"),
        "was never materialised" if asset in recipes else "is no asset of this study",
        expected="one of " + ", ".join(known) if known and partition not in known else "",
        remedy="see 'stalign status STUDY'",
    )


def retained_of(store: Store, asset: str, partition: str) -> list[Artifact]:
    """Every artifact with a whole manifest of an asset and partition, newest first."""
    folder = store.base / asset / partition
    names = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    found = []
    for name in names:
        try:
            artifact = store.find(asset, partition, name)
        except ArtifactError:
            # Set aside, or damaged: nothing that could be asked about.
            continue
        if artifact is not None:
            found.append(artifact)
    return sorted(found, key=lambda artifact: artifact.manifest.created, reverse=True)


def place_of(artifact: Artifact) -> Place:
    """What tells an artifact from all others."""
    manifest = artifact.manifest
    return manifest.asset, manifest.partition, manifest.input_key


def _check_names(asset: str | None, donor: str | None) -> None:
    """Names become paths of the store, and patterns of paths."""
    for option, names in (("--asset", (asset or "x").split("/")), ("--donor", [donor or "x"])):
        for name in names:
            if not is_safe_name(name):
                raise StudyError(option, f"holds the name '{name}'", expected=NAME_RULE)


def _by_key(store: Store, key: str, asset: str | None, donor: str | None) -> Artifact:
    pattern = f"**/{asset}/{donor or '*'}/{key}*/{MANIFEST}" if asset else f"**/{donor or '*'}/{key}*/{MANIFEST}"
    if not key.isalnum():
        raise StudyError("--artifact", f"is '{key}'", expected="an input key, or how one begins")
    found = []
    for path in sorted(store.base.glob(pattern), key=str):
        *of, partition, input_key = path.parent.path[len(store.base.path) :].strip("/").rsplit("/", 2)
        if of and "." not in input_key:
            artifact = store.find(of[0], partition, input_key)
            found += [] if artifact is None else [artifact]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StudyError(
            "--artifact",
            f"'{key}' begins no input key that the store retains",
            expected="an input key, as 'stalign audit STUDY --asset A' prints them",
        )
    raise StudyError(
        "--artifact",
        f"'{key}' is not one artifact",
        expected="one of " + ", ".join(f"{each.manifest.input_key} ({each.name})" for each in found[:4]),
        remedy="give more of the key, or --asset and --donor",
    )


def _partition_of(study: Study, recipes: Mapping[str, Recipe], asset: str, donor: str | None) -> str:
    if asset not in recipes:
        return donor or UNPARTITIONED
    partitioning = recipes[asset].partitioning
    if donor is not None and partitioning == "none":
        raise StudyError(f"asset {asset}", "is of the whole cohort", remedy="leave out --donor")
    if donor is None and partitioning != "none":
        known = _partitions(study, recipes, asset)
        raise StudyError(
            f"asset {asset}",
            f"has one artifact per {partitioning}",
            remedy=f"add --donor, such as {' or '.join(known[:4])}" if known else "see 'stalign status STUDY'",
        )
    return donor or UNPARTITIONED


def _partitions(study: Study, recipes: Mapping[str, Recipe], asset: str) -> tuple[str, ...]:
    return partitions_in_force(study, recipes[asset]) if asset in recipes else ()


def _find(store: Store, record: InputRecord, faults: dict[str, None]) -> Artifact | None:
    try:
        artifact = store.find(record.asset, record.partition, record.input_key)
        if artifact is None:
            raise MissingArtifactError(
                f"{_name(record)} {record.input_key}",
                "is not retained any more",
                remedy="'stalign run STUDY' makes it again",
            )
    except ArtifactError as error:
        faults[error.line] = None
        return None
    return artifact


def _made_anew(artifact: Artifact, record: InputRecord, found: Artifact) -> str:
    return (
        f"{_name(record)} {record.input_key}: has content {found.manifest.data_version}, "
        f"but {artifact.name} was made from content {record.data_version}"
    )


def _name(record: InputRecord) -> str:
    return record.asset if record.partition == UNPARTITIONED else f"{record.asset} of {record.partition}"


def _is_in_force(store: Store, artifact: Artifact) -> bool:
    try:
        current = store.current(artifact.manifest.asset, artifact.manifest.partition)
    except ArtifactError:
        return False
    return current is not None and current.manifest.input_key == artifact.manifest.input_key


def _ordered(found: dict[Place, Artifact]) -> Iterator[Artifact]:
    """Each artifact before its inputs: by the longest way from the root, then in order of discovery."""
    n_unmet = dict.fromkeys(found, 0)
    inputs = {
        place: list(
            dict.fromkeys(
                (record.asset, record.partition, record.input_key)
                for record in artifact.manifest.inputs
                if (record.asset, record.partition, record.input_key) in found
            )
        )
        for place, artifact in found.items()
    }
    for upstream in inputs.values():
        for place in upstream:
            n_unmet[place] += 1
    ready = [place for place, n in n_unmet.items() if n == 0]
    while ready:
        place = ready.pop(0)
        yield found[place]
        for upstream_place in inputs[place]:
            n_unmet[upstream_place] -= 1
            if n_unmet[upstream_place] == 0:
                ready.append(upstream_place)

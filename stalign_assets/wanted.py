"""What an asset's artifact should be made from right now, and the input key that follows.

One function serves materialisation, planning and audit, so that they cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stalign_assets.recipes.recipe import SPLITS, Input, KeyContext, Recipe
from stalign_assets.recipes.samples import RAW
from stalign_assets.study import Study
from stalign_core.errors import ArtifactError, MissingArtifactError, StudyError
from stalign_core.store import Artifact, InputRecord, SourceRecord
from stalign_core.store.hashing import canonical_json, digest
from stalign_core.store.refusals import refusal_of
from stalign_core.store.store import UNPARTITIONED

LEFT_OUT: Final = "donors_left_out"
"""The entry of a materialisation's metadata that names donors, each with the reason."""


@dataclass(frozen=True)
class Wanted:
    """Everything that decides an input key, and the key; of a frozen artifact, its own key."""

    input_key: str
    donors: tuple[str, ...]
    donors_left_out: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, Artifact]]
    input_records: tuple[InputRecord, ...]
    sources: tuple[SourceRecord, ...]
    source_hashes: Mapping[str, str]
    settings: Mapping[str, Any]
    seed: int
    frozen: bool = False


class MissingInputError(StudyError):
    """An input was never materialised, or not since what it was made from changed."""


def wanted(
    study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str, *, thawed: bool = False
) -> Wanted:
    """What `recipe` should be computed from for `partition`, given the artifacts now in force.

    With `thawed`, a frozen artifact is wanted anew.

    Raises
    ------
    MissingInputError
        If an input has no artifact yet.
    ArtifactError
        If the pointer or manifest of an input is damaged.
    """
    with study.store.remembering():
        return _wanted(study, recipes, recipe, partition, thawed)


def _wanted(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str, thawed: bool) -> Wanted:
    donors, left_out = _donors_of(study, recipes, recipe, partition)
    inputs = {
        declared.asset: _artifacts_of(study, recipes[declared.asset], recipe, donors) for declared in recipe.inputs
    }
    _check_agreement(study, recipes, recipe, inputs)
    records = tuple(
        _input_record(declared, artifact) for declared in recipe.inputs for artifact in inputs[declared.asset].values()
    )
    pinned = None if recipe.pinned is None else recipe.pinned(study)
    records += () if pinned is None else (_input_record(Input(pinned.manifest.asset), pinned),)
    sources, source_hashes = sources_of(study, recipe, partition)
    settings = dict(recipe.settings(KeyContext(study, partition, donors, inputs)))
    seed = study.settings.seed if recipe.seeded else 0
    key = digest(
        {
            "asset": recipe.asset,
            "partition": partition,
            "code_version": recipe.code_version,
            "inputs": [[record.asset, record.partition, record.used] for record in records],
            "sources": source_hashes,
            "settings": settings,
            "seed": seed,
        }
    )
    held = None if thawed else _frozen_artifact(study, recipes, recipe, partition, settings, records)
    return Wanted(
        input_key=key if held is None else held.manifest.input_key,
        donors=donors,
        donors_left_out=left_out,
        inputs=inputs,
        input_records=records,
        sources=sources,
        source_hashes=source_hashes,
        settings=settings,
        seed=seed,
        frozen=held is not None,
    )


def joint_key(study: Study, recipes: Mapping[str, Recipe], assets: Sequence[str], partition: str) -> str:
    """One key for `assets` together: it follows from all that they are made from, and from nothing that they make.

    Unlike input keys it can be told before any of them is there, so that it names a state that is still to be reached.

    Raises
    ------
    MissingInputError
        If something that they are made from has no artifact yet.
    StudyError
        If no donor is left.
    """
    own = set(assets)
    donors, _ = _donors_of(study, recipes, recipes[assets[0]], partition)
    outside: dict[str, dict[str, Artifact]] = {}
    material = []
    for asset in assets:
        recipe = recipes[asset]
        read = [declared for declared in recipe.inputs if declared.asset not in own]
        for declared in read:
            if declared.asset not in outside:
                outside[declared.asset] = _artifacts_of(study, recipes[declared.asset], recipe, donors)
        used = [
            [declared.asset, of, artifact.used_hash(declared.files)]
            for declared in read
            for of, artifact in outside[declared.asset].items()
        ]
        settings = dict(recipe.settings(KeyContext(study, partition, donors, outside)))
        material.append([asset, recipe.code_version, used, settings, study.settings.seed if recipe.seeded else 0])
    return digest({"partition": partition, "donors": donors, "made_from": material})


def _may_freeze(study: Study, recipe: Recipe) -> bool:
    return recipe.freezable and study.settings.incremental.freeze_bases


def _frozen_artifact(
    study: Study,
    recipes: Mapping[str, Recipe],
    recipe: Recipe,
    partition: str,
    settings: Mapping[str, Any],
    records: tuple[InputRecord, ...],
) -> Artifact | None:
    """The artifact in force, if it is to stay: only settings, code and frozen inputs of its own can end that."""
    if not _may_freeze(study, recipe):
        return None
    try:
        held = study.store.current(recipe.asset, partition)
    except ArtifactError:
        return None
    if held is None or held.manifest.code_version != recipe.code_version:
        return None
    if held.manifest.settings != json.loads(canonical_json(settings)):
        return None
    used = {(record.asset, record.partition): record.used for record in held.manifest.inputs}
    for record in records:
        if recipes[record.asset].freezable and used.get((record.asset, record.partition)) != record.used:
            return None
    return held


def accepted_donors(
    study: Study, recipes: Mapping[str, Recipe], donors: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Donors of the sheet, or of `donors`, that can take part, and those left out with the reason.

    Raises
    ------
    MissingInputError
        If a donor's raw samples were never read.
    StudyError
        If none is left.
    """
    accepted, left_out = [], {}
    for donor in donors or study.cohort.donors:
        reason = reason_left_out(study, recipes, donor)
        if reason is not None:
            left_out[donor] = reason
        elif study.store.current(RAW, donor) is None:
            raise MissingInputError(
                f"donor {donor}",
                f"has no {RAW} yet",
                remedy=f"run 'stalign run STUDY --donors {donor}' or materialise its partition first",
            )
        else:
            accepted.append(donor)
    if not accepted:
        raise StudyError(
            "cohort",
            "no donor passed its checks" + "".join(f"; {donor}: {reason}" for donor, reason in left_out.items()),
            remedy="correct the samples, or lower [input] in study.toml",
        )
    return tuple(accepted), left_out


def reason_left_out(study: Study, recipes: Mapping[str, Recipe], donor: str) -> str | None:
    """Why a donor takes no part in the cohort: a check of its raw samples fails, or its files cannot be used."""
    for asset, recipe in recipes.items():
        refusal = refusal_of(study.store, asset, donor) if recipe.is_of_samples else None
        if refusal is not None:
            return refusal.line
    raw = study.store.current(RAW, donor)
    problems = [] if raw is None else raw.manifest.summary.get("problems", [])
    return "; ".join(problems) or None


def _donors_of(
    study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    if recipe.partitioning == "donor":
        if partition not in study.cohort.donors:
            raise StudyError(
                f"donor {partition}",
                f"is not in {study.cohort.sheet.name}",
                expected="one of " + ", ".join(study.cohort.donors),
            )
        return (partition,), {}
    accepted, left_out = accepted_donors(study, recipes)
    retired = dict.fromkeys(study.cohort.retired_donors, f"is retired in {study.cohort.sheet.name}")
    return accepted, {**left_out, **retired}


def _artifacts_of(study: Study, upstream: Recipe, recipe: Recipe, donors: tuple[str, ...]) -> dict[str, Artifact]:
    partitions = donors if upstream.partitioning == "donor" else (UNPARTITIONED,)
    if upstream.partitioning == "fold":
        partitions = folds_of(study)
    artifacts = {}
    for partition in partitions:
        artifact = study.store.current(upstream.asset, partition)
        if artifact is None:
            of = "" if partition == UNPARTITIONED else f" of {partition}"
            raise MissingInputError(
                f"{recipe.asset}", f"needs {upstream.asset}{of}, which was never materialised", remedy="materialise it"
            )
        artifacts[partition] = artifact
    return artifacts


def folds_of(study: Study) -> tuple[str, ...]:
    """Partitions of what is made per outer fold of the benchmark.

    Raises
    ------
    MissingInputError
        If the folds were never dealt.
    """
    splits = study.store.current(SPLITS, UNPARTITIONED)
    if splits is None:
        raise MissingInputError("benchmark", f"needs {SPLITS}, which was never materialised", remedy="materialise it")
    return tuple(splits.manifest.summary["folds"])


def partitions_in_force(study: Study, recipe: Recipe) -> tuple[str, ...]:
    """Partitions that an asset has now: the donors of the sheet, the folds that were dealt, or the one of the cohort.

    Raises
    ------
    ArtifactError
        If the pointer or manifest of the folds is damaged.
    """
    if recipe.partitioning == "fold":
        try:
            return folds_of(study)
        except (MissingInputError, MissingArtifactError):
            return ()
    return study.cohort.donors if recipe.partitioning == "donor" else (UNPARTITIONED,)


def _check_agreement(
    study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, inputs: Mapping[str, Mapping[str, Artifact]]
) -> None:
    """Refuse inputs that were made from another state of something that is read beside them.

    Features of earlier spots put beside the positions of present ones would be a silent error. A frozen artifact
    holds nothing of single spots, and is meant to be older than what is read beside it.
    """
    for asset, artifacts in inputs.items():
        if _may_freeze(study, recipes[asset]):
            continue
        for artifact in artifacts.values():
            for record in artifact.manifest.inputs:
                beside = inputs.get(record.asset, {}).get(record.partition)
                # An asset may be declared more than once, with other files each time.
                files = [declared.files for declared in recipes[asset].inputs if declared.asset == record.asset]
                if beside is not None and record.used not in {beside.used_hash(patterns) for patterns in files}:
                    raise MissingInputError(
                        recipe.asset,
                        f"would read {artifact.name}, made from another {beside.name} than the one now in force",
                        remedy=f"materialise {asset} first",
                    )


def _input_record(declared: Input, artifact: Artifact) -> InputRecord:
    manifest = artifact.manifest
    used = artifact.used_hash(declared.files)
    return InputRecord(manifest.asset, manifest.partition, manifest.input_key, manifest.data_version, used)


def sources_of(study: Study, recipe: Recipe, partition: str) -> tuple[tuple[SourceRecord, ...], dict[str, str]]:
    """The raw files that an asset is made from, as they are now, and their hashes by sample and role.

    Raises
    ------
    StalignError
        If one of them is missing or cannot be read.
    """
    if recipe.sources is None:
        return (), {}
    records: dict[str, SourceRecord] = {}
    hashes: dict[str, str] = {}
    for source in recipe.sources(study, partition):
        record = study.fingerprints.record(source.path)
        records[record.path] = record
        hashes[f"{source.sample}/{source.role}"] = record.sha256
    return tuple(records.values()), hashes

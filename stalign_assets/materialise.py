"""Materialising one asset: reuse the artifact its input key names, or compute and commit it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stalign_assets.full_disk import naming_full_disk
from stalign_assets.locking import computing_alone
from stalign_assets.measure import Measure
from stalign_assets.recipes.recipe import Recipe, Task
from stalign_assets.refusing import noting_refusal
from stalign_assets.reporting import WARNING
from stalign_assets.study import UNFINISHED_FOLDER, Study
from stalign_assets.wanted import Wanted, sources_of, wanted
from stalign_core.errors import ArtifactError, InputChangedError, NewerArtifactError
from stalign_core.progress import Progress
from stalign_core.store import Artifact, Manifest
from stalign_core.store.hashing import canonical_json
from stalign_core.store.manifest import data_version_of

_RECORDED_PACKAGES = (
    "stalign",
    "anndata",
    "dagster",
    "decoupler",
    "h5py",
    "harmonypy",
    "imagecodecs",
    "jax",
    "lightning",
    "numpy",
    "pandas",
    "pillow",
    "scanorama",
    "scanpy",
    "scib-metrics",
    "scikit-image",
    "scikit-learn",
    "scikit-misc",
    "scipy",
    "scvi-tools",
    "tifffile",
    "timm",
    "torch",
    "torchstain",
    "torchvision",
    "umap-learn",
    "zarr",
)


@dataclass(frozen=True)
class Materialisation:
    """An artifact, whether it was there already, and which donors are left out now, and why."""

    artifact: Artifact
    reused: bool
    donors_left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One asset and partition to materialise, within one run."""

    study: Study
    recipes: Mapping[str, Recipe]
    recipe: Recipe
    partition: str
    run_id: str
    progress: Progress
    say: Callable[[str], None]


def materialise(step: Step) -> Materialisation:
    """Make the artifact of the step's asset and partition the one in force.

    What cannot be made of a donor's own files is noted in the store as refused: the cohort goes on without the donor.

    Raises
    ------
    StalignError
        If an input is missing or damaged, the data cannot stand, or the store cannot be written.
    """
    with noting_refusal(step.study, step.recipes, step.recipe, step.partition):
        return _materialise(step)


def _materialise(step: Step) -> Materialisation:
    with step.study.fingerprints.noting() as hashed:
        return _found_or_made(step, hashed)


def _found_or_made(step: Step, hashed: Mapping[Path, str]) -> Materialisation:
    study = step.study
    want = wanted(study, step.recipes, step.recipe, step.partition)
    found = whole_artifact(study, step.recipe.asset, step.partition, want.input_key, step.say)
    if found is None and want.frozen:
        # What was frozen is damaged: it can only be made from what there is now.
        want = wanted(study, step.recipes, step.recipe, step.partition, thawed=True)
        found = whole_artifact(study, step.recipe.asset, step.partition, want.input_key, step.say)
    if found is None:
        return _made(step, want, hashed)
    study.store.point(found)
    return Materialisation(found, True, want.donors_left_out)


def _made(step: Step, want: Wanted, hashed: Mapping[Path, str]) -> Materialisation:
    """Computed here, or by a process that was found at it; `hashed` are the raw files that were hashed for it."""
    study = step.study
    scratch = study.store.cache / UNFINISHED_FOLDER / want.input_key
    with (
        naming_full_disk(f"store {study.store.base}", "what was computed could not be kept"),
        computing_alone(scratch, step.say) as waited,
    ):
        found = whole_artifact(study, step.recipe.asset, step.partition, want.input_key, step.say) if waited else None
        artifact = found or _compute(step, want, hashed, scratch)
        study.store.point(artifact)
    return Materialisation(artifact, found is not None, want.donors_left_out)


@contextmanager
def setting_damaged_inputs_aside(step: Step, want: Wanted) -> Iterator[None]:
    """Where a stored artifact turns out not to be whole, set the inputs aside that are not: plans then see the gap."""
    try:
        yield
    except ArtifactError:
        for asset, artifacts in want.inputs.items():
            for partition, artifact in artifacts.items():
                key = artifact.manifest.input_key
                whole_artifact(step.study, asset, partition, key, step.say, then="the next run computes it anew")
        raise


def whole_artifact(
    study: Study,
    asset: str,
    partition: str,
    input_key: str,
    say: Callable[[str], None],
    *,
    then: str = "computed anew",
) -> Artifact | None:
    """The artifact with this key if every byte of it verifies; a damaged one is set aside and None returned."""
    try:
        found = study.store.find(asset, partition, input_key)
        if found is not None:
            found.verify()
    except NewerArtifactError:
        raise
    except ArtifactError as error:
        say(f"{WARNING} {error.line}; it is set aside and {then}")
        study.store.discard(study.store.base / asset / partition / input_key)
        return None
    return found


def _compute(step: Step, want: Wanted, hashed: Mapping[Path, str], scratch: Path) -> Artifact:
    with step.study.store.staging(_predecessor(step)) as builder:
        task = Task(
            study=step.study,
            recipe=step.recipe,
            partition=step.partition,
            donors=want.donors,
            inputs=want.inputs,
            key_settings=want.settings,
            source_hashes=want.source_hashes,
            builder=builder,
            scratch=scratch,
            progress=step.progress,
            say=step.say,
        )
        with (
            Measure() as measure,
            _reading_what_was_hashed(step, want, hashed),
            setting_damaged_inputs_aside(step, want),
        ):
            step.recipe.compute(task)
        artifact = step.study.store.commit(builder, _manifest(step, want, task, measure))
    shutil.rmtree(scratch, ignore_errors=True)
    return artifact


@contextmanager
def _reading_what_was_hashed(step: Step, want: Wanted, hashed: Mapping[Path, str]) -> Iterator[None]:
    """Look at raw files again once they were read: what they held meanwhile is what the input key names.

    A failure over a file that has changed tells nothing of the file, but that it changed.

    Raises
    ------
    InputChangedError
        If one holds other bytes, or the sheet's path leads to another file.
    InputDataError
        If one is gone.
    """
    try:
        yield
    except Exception:
        _check_unchanged(step, want, hashed)
        raise
    _check_unchanged(step, want, hashed)


def _check_unchanged(step: Step, want: Wanted, hashed: Mapping[Path, str]) -> None:
    step.study.fingerprints.check_unchanged(hashed)
    _, hashes = sources_of(step.study, step.recipe, step.partition)
    other = sorted(name for name, sha256 in want.source_hashes.items() if hashes.get(name) != sha256)
    if other:
        raise InputChangedError(
            f"{step.recipe.asset} of {step.partition}",
            f"reads another {other[0]} than was hashed",
            expected="paths that lead to the same files until these were read",
            remedy="run again once they do",
        )


def _predecessor(step: Step) -> Artifact | None:
    try:
        return step.study.store.current(step.recipe.asset, step.partition)
    except NewerArtifactError:
        raise
    except ArtifactError:
        return None


def _manifest(step: Step, want: Wanted, task: Task, measure: Measure) -> Manifest:
    builder = task.builder
    summary = {**builder.summary, "warnings": task.warnings, "parts_reused": builder.parts_reused}
    return Manifest(
        asset=step.recipe.asset,
        partition=step.partition,
        input_key=want.input_key,
        data_version=data_version_of(builder.files),
        code_version=step.recipe.code_version,
        settings=json.loads(canonical_json(want.settings)),
        settings_hash=step.study.settings_hash,
        seed=want.seed,
        inputs=(*want.input_records, *task.made_from),
        sources=want.sources,
        donors=want.donors,
        donors_left_out=dict(want.donors_left_out),
        files=builder.files,
        parts=builder.parts,
        summary=json.loads(canonical_json(summary)),
        run_id=step.run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(measure.seconds, 3),
        cpu_seconds=round(measure.cpu_seconds, 3),
        peak_memory_bytes=measure.peak_memory_bytes,
        memory_at_start_bytes=measure.memory_at_start_bytes,
        packages=recorded_packages(),
        determinism=builder.determinism,
    )


@cache
def recorded_packages() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions

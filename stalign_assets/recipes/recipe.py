"""The declaration of one asset: inputs, settings that matter, code version, computation.

What belongs here: the shape of a declaration. What does not: any particular asset, any Dagster object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from stalign_core.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from stalign_assets.study import Study
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact, ArtifactBuilder, InputRecord

Partitioning = Literal["donor", "fold", "none"]

SPLITS: Final = "benchmark/splits"
"""Asset that says which outer folds there are."""

BENCHMARK_GROUP: Final = "benchmark"
"""Group of the paper's study, which runs when it is asked for."""

SAMPLES_GROUP: Final = "samples"
"""Group of the assets that are made of a donor's own files."""


@dataclass(frozen=True)
class Input:
    """An asset that is read, and the files of it whose content matters; ``**`` stands for all of them."""

    asset: str
    files: tuple[str, ...] = ("**",)


@dataclass(frozen=True)
class KeyContext:
    """What an asset may look at to say which settings matter: no file is read for it."""

    study: Study
    partition: str
    donors: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, Artifact]]

    @property
    def settings(self) -> Settings:
        """The study's settings."""
        return self.study.settings


@dataclass(frozen=True)
class SourceFile:
    """A raw file of a sample; `role` and `sample` enter the input key, the path on this machine does not."""

    sample: str
    role: str
    path: Path


@dataclass
class Task:
    """One computation of one asset for one partition.

    `scratch` is a folder (not made yet) for work that a killed computation of the same input key can go on with; it
    is removed once the artifact is kept.
    """

    study: Study
    recipe: Recipe
    partition: str
    donors: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, Artifact]]
    key_settings: Mapping[str, Any]
    source_hashes: Mapping[str, str]
    builder: ArtifactBuilder
    scratch: Path
    progress: Progress
    say: Callable[[str], None]
    warnings: list[str] = field(default_factory=list)
    made_from: list[InputRecord] = field(default_factory=list)
    """Artifacts that were read besides the declared inputs: they are kept as long as this one."""

    @property
    def settings(self) -> Settings:
        """The study's settings."""
        return self.study.settings

    @property
    def scope(self) -> Literal["donor", "cohort"]:
        """Whether one donor or all of them are at hand."""
        return "donor" if self.recipe.partitioning == "donor" else "cohort"

    def one(self, asset: str) -> Artifact:
        """The only artifact of an input."""
        (artifact,) = self.inputs[asset].values()
        return artifact

    def of_donor(self, asset: str, donor: str) -> Artifact:
        """The artifact of an input that is partitioned by donor."""
        return self.inputs[asset][donor]

    def each_donor(self, asset: str) -> Iterator[tuple[str, Artifact]]:
        """The artifacts of an input, donor by donor, with progress."""
        for done, donor in enumerate(self.donors):
            self.progress(f"{asset} of {donor}", done, len(self.donors))
            yield donor, self.inputs[asset][donor]

    def warn(self, line: str) -> None:
        """Keep a warning with the artifact, and show it."""
        self.warnings.append(line)
        self.say(f"warning: {line}")


def warn_of_reduced_batch(task: Task, asked: int, reduced_to: int | None) -> None:
    """Say, and keep with the artifact, that the memory of a GPU did not hold the batches that were asked for."""
    if reduced_to is not None:
        task.warn(f"GPU memory did not hold batches of {asked}; they were reduced to {reduced_to}")
        task.builder.summary["batch_size_reduced_to"] = reduced_to


@dataclass(frozen=True)
class Recipe:
    """One asset.

    Attributes
    ----------
    asset
        Key of the asset, parts joined by ``/``.
    group, description
        Where and how the lineage page shows it.
    partitioning
        ``"donor"``: one artifact per donor; ``"fold"``: one per outer fold of the benchmark; ``"none"``: one for the
        cohort.
    code_version
        Raised by one when the computation changes its results.
    inputs
        Assets it reads.
    settings
        The settings that matter to it, JSON-able.
    compute
        Writes the files of the artifact into the task's builder.
    seeded
        Whether the study's seed matters.
    pool
        Dagster concurrency pool.
    sources
        Raw files of a donor that it reads.
    kinds
        Badges on the lineage page.
    variant
        The variant it belongs to, if any.
    pinned
        An artifact that it reads besides, whether it is in force or not.
    freezable
        Whether the artifact in force stays, with the setting `incremental.freeze_bases`, when samples change.
    """

    asset: str
    group: str
    description: str
    partitioning: Partitioning
    code_version: int
    inputs: tuple[Input, ...]
    settings: Callable[[KeyContext], Mapping[str, Any]]
    compute: Callable[[Task], None]
    seeded: bool = False
    pool: str | None = None
    sources: Callable[[Study, str], Sequence[SourceFile]] | None = None
    kinds: tuple[str, ...] = ()
    variant: str | None = None
    pinned: Callable[[Study], Artifact | None] | None = None
    freezable: bool = False

    @property
    def path(self) -> list[str]:
        """Parts of the asset's key."""
        return self.asset.split("/")

    @property
    def is_of_samples(self) -> bool:
        """Whether it is made of a donor's own files, for the cohort to read."""
        return self.group == SAMPLES_GROUP


def no_settings(_: KeyContext) -> Mapping[str, Any]:
    """For assets that no setting changes."""
    return {}

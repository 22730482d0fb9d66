"""Trials and corrections, each an artifact of its own under the hash of all that it follows from.

What was tried once is never computed again: a killed search goes on where it stopped, and a wider grid costs its
difference. Tuning and test of different folds share what they have in common.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.machine import machine_name
from stalign_assets.recipes.benchmark.claims import Claims, claims_in
from stalign_assets.recipes.recipe import Input
from stalign_assets.recipes.samples import EXTERNAL, GRIDS, MORPHOLOGY, RAW, used_encoders, used_representations
from stalign_assets.rows import samples_of
from stalign_core.keys import SYMBOL
from stalign_core.store import InputRecord
from stalign_core.store.hashing import canonical_json, digest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from stalign_assets.recipes.recipe import Task
    from stalign_assets.study import Study
    from stalign_core.benchmark.arms import Arm, Trial
    from stalign_core.benchmark.group import Group, Section
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact

TRIALS: Final = "benchmark/trials"
CORRECTIONS: Final = "benchmark/corrections"
MACHINE: Final = "machine"
"""Of a manifest's summary: where times were taken."""

TRIAL_VERSION: Final = 1
CORRECTION_VERSION: Final = 1
_LONGEST_NAME: Final = 60
_GROUPS_KEPT: Final = 2
"""In memory: one that tunes and one that is tested."""


def inputs_of_trials(settings: Settings) -> tuple[Input, ...]:
    """What trials read of the donors."""
    return (
        Input(RAW, ("*.counts.h5ad", "*.spots.parquet", "*.labels.parquet", "*.lattice.json")),
        Input(GRIDS),
        *(Input(f"{MORPHOLOGY}/{encoder}", ("*.safetensors",)) for encoder in used_encoders(settings)),
        *(Input(f"{EXTERNAL}/{name}", ("*.safetensors",)) for name in used_representations(settings)),
    )


@dataclass(frozen=True)
class Place:
    """Where the artifact of a trial or a correction lies in the store."""

    asset: str
    partition: str
    input_key: str


class Bench:
    """Runs trials on groups of donors, or finds them in the store.

    Parameters
    ----------
    study
        Settings and store.
    inputs
        Artifacts by asset and donor, those of `inputs_of_trials` among them.
    """

    def __init__(self, study: Study, inputs: Mapping[str, Mapping[str, Artifact]]) -> None:
        self.study = study
        self.inputs = inputs
        self._groups: dict[tuple[str, ...], Group] = {}
        self._used = {
            donor: {
                each.asset: inputs[each.asset][donor].used_hash(each.files) for each in inputs_of_trials(study.settings)
            }
            for donor in inputs[RAW]
        }

    @cached_property
    def claims(self) -> Claims:
        """What this process computes, so that others leave it."""
        return claims_in(self.study.store.cache)

    def n_domains(self, donors: Sequence[str]) -> int:
        """K of a group: how many labels its annotated spots have."""
        from stalign_core.domains.annotation import distinct_labels

        summaries = [self.inputs[RAW][donor].manifest.summary["samples"] for donor in donors]
        labels = [label for samples in summaries for sample in samples.values() for label in sample["labels"]]
        return max(1, len(distinct_labels(labels, self.study.settings.domains.ignored_labels)))

    def n_spots(self, donors: Sequence[str]) -> int:
        """Spots of a group."""
        return sum(int(self.inputs[RAW][donor].manifest.summary["n_spots"]) for donor in donors)

    def correction_place(self, donors: Sequence[str], trial: Trial) -> Place:
        """Of the corrected expression that a trial starts from."""
        return Place(CORRECTIONS, _partition(donors), digest(self._correction_identity(donors, trial)))

    def trial_place(self, donors: Sequence[str], trial: Trial) -> Place:
        """Of a trial."""
        return Place(TRIALS, _partition(donors), digest(self._trial_identity(donors, trial)))

    def is_there(self, place: Place) -> bool:
        """Whether an artifact was committed."""
        return self.study.store.find(place.asset, place.partition, place.input_key) is not None

    def run(self, donors: Sequence[str], trial: Trial, task: Task) -> tuple[pd.DataFrame, str]:
        """Metrics of a trial, from the store or computed and kept there, and the trial's key."""
        from stalign_core.benchmark.trial import run_trial

        place = self.trial_place(donors, trial)
        found = self._whole(place, task)
        if found is None:
            group, n_domains = self.group(donors, task), self.n_domains(donors)
            corrected = self.corrected(donors, trial, task)

            def compute(builder: Any) -> None:
                builder.write_table("metrics.parquet", run_trial(group, trial, corrected, n_domains).metrics)
                builder.summary.update(n_spots=group.n_spots, n_domains=n_domains, arm=trial.arm.name)

            identity = self._trial_identity(donors, trial)
            found = self._keep(place, identity, trial.seed, donors, _read_by_trial(trial.arm), compute, TRIAL_VERSION)
        task.made_from.append(_record(found))
        return found.table("metrics.parquet"), place.input_key

    def corrected(self, donors: Sequence[str], trial: Trial, task: Task) -> np.ndarray[Any, Any]:
        """Expression as the trial's method corrects it, from the store or computed and kept there."""
        place = self.correction_place(donors, trial)
        with self.claims.claim(place.input_key, wait=True):
            found = self._whole(place, task) or self._correct(place, donors, trial, task)
        task.made_from.append(_record(found))
        return found.arrays("corrected.safetensors")["features"]

    def _correct(self, place: Place, donors: Sequence[str], trial: Trial, task: Task) -> Artifact:
        group, arm = self.group(donors, task), trial.arm

        def compute(builder: Any) -> None:
            result = group.correct(
                arm.method, arm.representation, trial.settings(self.study.settings), trial.correction_seed
            )
            builder.write_arrays("corrected.safetensors", {"features": result.features})
            builder.summary.update(n_spots=group.n_spots, method=arm.method)

        identity = self._correction_identity(donors, trial)
        read = _read_by_correction(arm)
        return self._keep(place, identity, trial.correction_seed, donors, read, compute, CORRECTION_VERSION)

    def group(self, donors: Sequence[str], task: Task) -> Group:
        """The samples of these donors; read once."""
        from stalign_core.benchmark.group import Group

        key = tuple(sorted(donors))
        if key not in self._groups:
            sections = [self._section(donor, sample) for donor in key for sample in samples_of(self.inputs[RAW][donor])]
            # Counts and features of groups are the largest things here.
            for oldest in list(self._groups)[: len(self._groups) + 1 - _GROUPS_KEPT]:
                del self._groups[oldest]
            self._groups[key] = Group(sections, self.study.settings, task.progress)
        return self._groups[key]

    def _section(self, donor: str, sample: str) -> Section:
        import numpy as np

        from stalign_core.benchmark.group import Section

        raw, grids = self.inputs[RAW][donor], self.inputs[GRIDS][donor].arrays(f"{sample}.safetensors")
        counts = raw.anndata(f"{sample}.counts.h5ad")
        settings = self.study.settings
        morphology = {}
        for encoder in used_encoders(settings):
            arrays = self.inputs[f"{MORPHOLOGY}/{encoder}"][donor].arrays(f"{sample}.safetensors")
            morphology[encoder] = (arrays["features"], arrays["observed"])
        return Section(
            sample=sample,
            donor=donor,
            counts=counts.X,
            genes=counts.var_names.to_numpy(dtype=object),
            symbols=counts.var[SYMBOL].to_numpy(dtype=object),
            barcode=raw.table(f"{sample}.spots.parquet")["barcode"].to_numpy(dtype=object),
            labels=raw.table(f"{sample}.labels.parquet")["label"].to_numpy(dtype=object),
            lattice=grids["lattice"],
            positions=np.asarray(grids["positions"], dtype=np.float64),
            hexagonal=raw.manifest.summary["samples"][sample]["lattice"] == "hexagonal",
            morphology=morphology,
            external={
                name: self.inputs[f"{EXTERNAL}/{name}"][donor].arrays(f"{sample}.safetensors")["features"]
                for name in used_representations(settings)
            },
        )

    def _used_by(self, donors: Sequence[str], assets: Collection[str]) -> dict[str, dict[str, str]]:
        """What a step reads of each donor, by content; encoders and embeddings that it does not read are left out."""
        return {
            donor: {asset: used for asset, used in self._used[donor].items() if asset in assets}
            for donor in sorted(donors)
        }

    def _correction_identity(self, donors: Sequence[str], trial: Trial) -> dict[str, Any]:
        settings, arm = trial.settings(self.study.settings), trial.arm
        method = arm.method
        section = getattr(settings.correction, method, None)
        own = {} if section is None else section.model_dump(mode="json", exclude={"device", "max_spots"})
        return {
            "version": CORRECTION_VERSION,
            "used": self._used_by(donors, _read_by_correction(arm)),
            "expression": settings.expression.model_dump(mode="json"),
            "method": method,
            "covariate": settings.correction.covariate,
            "own": own,
            "representation": arm.representation,
            "seed": trial.correction_seed,
        }

    def _trial_identity(self, donors: Sequence[str], trial: Trial) -> dict[str, Any]:
        settings, arm = trial.settings(self.study.settings), trial.arm
        learns = arm.sees_morphology
        return {
            "version": TRIAL_VERSION,
            "correction": self._correction_identity(donors, trial),
            "used": self._used_by(donors, _read_by_trial(arm)),
            "arm": asdict(arm),
            "aestetik": settings.aestetik.identity() if learns else {},
            "harmony": self.study.settings.correction.harmony.model_dump(mode="json") if learns else {},
            "morphology": settings.morphology.n_components if learns else 0,
            "metrics": settings.metrics.model_dump(mode="json", exclude={"bio_weight"}),
            "domains": settings.domains.model_dump(mode="json", include={"refine_neighbors", "ignored_labels"}),
            "n_domains": self.n_domains(donors),
            "seed": trial.seed,
            "scib_spots": trial.scib_spots,
            **_named_scaling(arm, settings, len(donors)),
            **_named_mixing(self.n_spots(donors), settings),
        }

    def _whole(self, place: Place, task: Task) -> Artifact | None:
        from stalign_core.errors import ArtifactError, NewerArtifactError

        try:
            found = self.study.store.find(place.asset, place.partition, place.input_key)
            if found is not None:
                found.verify()
        except NewerArtifactError:
            raise
        except ArtifactError as error:
            task.say(f"warning: {error.line}; it is set aside and computed anew")
            self.study.store.discard(self.study.store.base / place.asset / place.partition / place.input_key)
            return None
        return found

    def _keep(
        self,
        place: Place,
        identity: Mapping[str, Any],
        seed: int,
        donors: Sequence[str],
        read: Collection[str],
        compute: Any,
        version: int,
    ) -> Artifact:
        from stalign_assets.materialise import recorded_packages
        from stalign_assets.measure import Measure
        from stalign_core.store import Manifest
        from stalign_core.store.manifest import data_version_of

        store = self.study.store
        with store.staging(None) as builder:
            with Measure() as measure:
                compute(builder)
            manifest = Manifest(
                asset=place.asset,
                partition=place.partition,
                input_key=place.input_key,
                data_version=data_version_of(builder.files),
                code_version=version,
                settings=json.loads(canonical_json(identity)),
                settings_hash=self.study.settings_hash,
                seed=seed,
                inputs=tuple(
                    _record(self.inputs[each.asset][donor], each.files)
                    for donor in sorted(donors)
                    for each in inputs_of_trials(self.study.settings)
                    if each.asset in read
                ),
                sources=(),
                donors=tuple(sorted(donors)),
                donors_left_out={},
                files=builder.files,
                parts={},
                summary=json.loads(canonical_json({**builder.summary, MACHINE: machine_name()})),
                run_id="",
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(measure.seconds, 3),
                cpu_seconds=round(measure.cpu_seconds, 3),
                peak_memory_bytes=measure.peak_memory_bytes,
                memory_at_start_bytes=measure.memory_at_start_bytes,
                packages=recorded_packages(),
                determinism=builder.determinism,
            )
            return store.commit(builder, manifest)


def _named_mixing(n_spots: int, settings: Settings) -> dict[str, str]:
    """How iLISI and kBET are taken of a group that is measured on a subsample; smaller groups are measured whole."""
    return {"mixing": "subsample among all spots"} if n_spots > settings.metrics.max_spots else {}


def _named_scaling(arm: Arm, settings: Settings, n_donors: int) -> dict[str, str]:
    """What uncorrected means standardise genes over, for their key, where corrected variants do otherwise."""
    if (arm.method, arm.model) == ("uncorrected", "neighbors") and settings.expression.scaling_of(n_donors) != "cohort":
        return {"scaling": "cohort"}
    return {}


def _read_by_correction(arm: Arm) -> set[str]:
    return {RAW, f"{EXTERNAL}/{arm.representation}"}


def _read_by_trial(arm: Arm) -> set[str]:
    return {GRIDS, *_read_by_correction(arm), *([f"{MORPHOLOGY}/{arm.encoder}"] if arm.sees_morphology else [])}


def _partition(donors: Sequence[str]) -> str:
    """A name for these donors that may be one of a folder."""
    name = "+".join(sorted(donors))
    return name if len(name) <= _LONGEST_NAME else f"{len(donors)}_donors_{digest(sorted(donors))[:12]}"


def _record(artifact: Artifact, files: Sequence[str] = ("**",)) -> InputRecord:
    manifest = artifact.manifest
    return InputRecord(
        manifest.asset, manifest.partition, manifest.input_key, manifest.data_version, artifact.used_hash(files)
    )

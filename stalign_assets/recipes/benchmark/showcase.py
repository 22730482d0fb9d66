"""Embeddings and domains of one test group per task, for the figures that show spots: 3 and 11, 10 and 13."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.benchmark.figures import MissingDataError
from stalign_assets.recipes.benchmark.search import Fold
from stalign_assets.recipes.downstream import network_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from stalign_assets.recipes.benchmark.trials import Bench
    from stalign_assets.recipes.recipe import Task
    from stalign_assets.study import Study
    from stalign_core.benchmark.group import Group
    from stalign_core.benchmark.trial import TrialResult

PREFERRED: Final = ("harmony", "scvi", "scanorama")
"""The paper shows Harmony on the lung cohort, scVI on melanoma."""


class Showcase:
    """What a fold's first test group looks like, with the settings that were chosen and the first seed."""

    def __init__(self, task: Task, bench: Bench, fold: Fold, tests: pd.DataFrame) -> None:
        self.name, self.donors = next(iter(fold.test.items()))
        self.task, self.bench = task, bench
        self.clusterer = task.settings.domains.clusterer
        self.tests = tests[(tests["task"] == fold.task) & (tests["fold"] == fold.number) & (tests["grp"] == self.name)]
        self._found: dict[str, tuple[TrialResult, str]] = {}

    @property
    def group(self) -> Group:
        """The samples."""
        return self.bench.group(self.donors, self.task)

    @property
    def methods(self) -> list[str]:
        """Methods that were tested alone and with AESTETIK."""
        arms = set(self.tests["arm"])
        return [name for name in dict.fromkeys(self.tests["method"]) if {name, f"{name}+aestetik"} <= arms]

    @property
    def preferred_method(self) -> str | None:
        """Of those that correct, the one that is shown: as the paper's, else any."""
        return next(
            (name for name in (*PREFERRED, *self.methods) if name in self.methods and name != "uncorrected"), None
        )

    def domains(self, arm: str) -> np.ndarray[Any, Any]:
        """Domains of an arm, as tested."""
        result, column = self._of(arm)
        return result.domains[column]

    def space(self, arm: str) -> np.ndarray[Any, Any]:
        """What the arm's domains are clusters of."""
        return self._of(arm)[0].space

    def _of(self, arm: str) -> tuple[TrialResult, str]:
        from stalign_assets.recipes.benchmark.search import arms_of_study
        from stalign_core.benchmark.arms import trial_of
        from stalign_core.benchmark.trial import REFINED, TrialResult, cluster, space_of

        if arm not in self._found:
            rows = self.tests[(self.tests["arm"] == arm) & (self.tests["clusterer"] == self.clusterer)]
            row = rows[rows["metric"] == "ari"].iloc[0]
            settings = self.task.settings
            chosen = next(
                each
                for each in arms_of_study(settings)
                if (each.name, each.representation, each.encoder) == (arm, row["representation"], row["encoder"])
            )
            trial = trial_of(chosen, json.loads(row["settings"]), int(row["seed"]), settings.benchmark)
            n_domains = self.bench.n_domains(self.donors)
            corrected = self.bench.corrected(self.donors, trial, self.task)
            space = space_of(self.group, trial, corrected, n_domains)
            found = TrialResult(space, cluster(self.group, trial, space, n_domains), rows)
            self._found[arm] = found, f"{self.clusterer}{REFINED if row['refined'] else ''}"
        return self._found[arm]


def figure_3(shown: Showcase) -> bytes:
    """UMAP of uncorrected, corrected and multi-modal spots, by donor (or sample) and by label."""
    from stalign_core.plots import project
    from stalign_core.plots.canvas import to_png
    from stalign_core.plots.projection import projection_grid

    method = shown.preferred_method
    if method is None or "uncorrected" not in set(shown.tests["method"]):
        raise MissingDataError("needs 'uncorrected', and a correction method with the models alone and aestetik")
    spaces = {name: shown.space(name) for name in ("uncorrected", method, f"{method}+aestetik")}
    group = shown.group
    by = "donor" if group.n_donors > 1 else "sample"
    colorings = {by: group.donors if by == "donor" else group.samples, "label": group.labels}
    seed = shown.task.settings.seed
    return to_png(projection_grid({name: project(space, seed) for name, space in spaces.items()}, colorings))


def figure_10(shown: Showcase) -> dict[str, bytes]:
    """Spatial maps of the truth and of each method, alone and with AESTETIK."""
    from stalign_core.plots import domain_map

    if not shown.methods:
        raise MissingDataError("needs a correction method with the models alone and aestetik")
    group = shown.group
    positions = group.stack(lambda section: section.positions)
    maps = {"labels": domain_map(positions, group.labels, group.samples, title="labels", legend_title="label")}
    for method in shown.methods:
        for arm in (method, f"{method}+aestetik"):
            maps[arm] = domain_map(positions, shown.domains(arm), group.samples, title=arm)
    return maps


def benchmark_network(study: Study) -> Path | None:
    """The table of pathways that figure 13 is drawn with: the benchmark's, else the study's, if either names one."""
    for setting, named in (
        ("benchmark.network", study.settings.benchmark.network),
        ("downstream.network", study.settings.downstream.network),
    ):
        if named:
            return network_file(study, setting, named)
    return None


def figure_13(shown: Showcase) -> bytes:
    """Pathway activity by domain, from a local network."""
    from stalign_core.downstream import domain_activities, donor_activities, read_network
    from stalign_core.downstream.profiles import ProfileSums, shared_profiles
    from stalign_core.plots.activity_map import activity_map
    from stalign_core.plots.canvas import to_png

    settings = shown.task.settings
    path = benchmark_network(shown.task.study)
    if path is None:
        raise MissingDataError("neither benchmark.network nor downstream.network names a table of pathways")
    method = shown.preferred_method
    if method is None:
        raise MissingDataError("needs a correction method with the models alone and aestetik")
    domains = shown.domains(f"{method}+aestetik")
    names = sorted(set(domains))
    start = 0
    sums: dict[str, ProfileSums] = {}
    for section in shown.group.sections:
        of_donor = sums.setdefault(section.donor, ProfileSums(names, settings.expression.target_sum))
        own = domains[start : start + section.n_spots]
        start += section.n_spots
        of_donor.add_section(section.counts, section.genes, section.symbols, own)
    profiles = shared_profiles({donor: each.result() for donor, each in sums.items()})
    chosen = settings.downstream
    activities = donor_activities(
        profiles,
        read_network(path),
        method=chosen.activity_method,
        min_spots=chosen.min_spots,
        min_targets=chosen.min_targets,
    )
    return to_png(activity_map(domain_activities(activities), chosen.fdr))

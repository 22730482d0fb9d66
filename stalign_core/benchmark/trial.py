"""One trial: from corrected expression to clusters and their metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.benchmark.arms import Trial
from stalign_core.benchmark.group import Group
from stalign_core.settings import Clusterer

if TYPE_CHECKING:
    from stalign_core.settings import Settings

CLUSTERERS: Final[tuple[Clusterer, ...]] = get_args(Clusterer)
REFINED: Final = "+refined"
SCIB_TOTAL: Final = "scib_total"

Domains = dict[str, NDArray[np.object_]]
"""By clusterer, with `REFINED` behind its name where a majority vote followed; (n_spots,) each."""


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What a trial found.

    Attributes
    ----------
    space
        (n_spots, n_features), what was clustered.
    domains
        By clusterer.
    metrics
        As `stalign_core.metrics.measure` gives them.
    """

    space: NDArray[np.float32]
    domains: Domains
    metrics: pd.DataFrame


def run_trial(group: Group, trial: Trial, corrected: NDArray[np.float32], n_domains: int) -> TrialResult:
    """Apply the trial's model to corrected expression, cluster, and measure.

    Parameters
    ----------
    group
        The samples that are integrated.
    trial
        Its arm, hyperparameters and seeds.
    corrected
        (n_spots, n_components) expression as the trial's method corrects it.
    n_domains
        K.
    """
    from stalign_core.metrics import measure

    settings = trial.settings(group.settings)
    space = space_of(group, trial, corrected, n_domains)
    domains = cluster(group, trial, space, n_domains)
    measured = measure(
        trial.arm.name,
        space,
        domains,
        labels=group.labels,
        samples=group.samples,
        donors=group.donors,
        positions=group.stack(lambda section: section.positions),
        settings=settings.metrics,
        seed=trial.seed,
        covariate=settings.correction.covariate,
        ignored_labels=settings.domains.ignored_labels,
    )
    table = measured.table.drop(columns="step")
    total = _scib_total(group, trial, space, settings)
    if total is not None:
        table.loc[len(table)] = {"clusterer": "", "donor": "", "sample": "", "metric": SCIB_TOTAL, "value": total}
    return TrialResult(space, domains, table)


def space_of(group: Group, trial: Trial, corrected: NDArray[np.float32], n_domains: int) -> NDArray[np.float32]:
    """What a trial clusters: corrected expression, its mean over neighbours, or the model's embedding."""
    if trial.arm.model == "alone":
        return corrected
    if trial.arm.model == "neighbors":
        return group.neighbor_mean(corrected)
    from stalign_core.aestetik import Aestetik

    morphology, observed = group.morphology(
        trial.arm.encoder, corrected=trial.arm.method != "uncorrected", seed=trial.correction_seed
    )
    inputs: dict[str, Any] = {
        "expression": corrected,
        "morphology": morphology,
        "has_morphology": observed,
        **group.lattice_inputs,
    }
    model = Aestetik(trial.settings(group.settings).aestetik, seed=trial.seed)
    donors = np.unique(group.donors.astype(str), return_inverse=True)[1]
    model.fit(**inputs, batch=donors, n_domains=n_domains, progress=group.progress)
    return model.embed(**inputs)


def cluster(group: Group, trial: Trial, space: NDArray[np.float32], n_domains: int) -> Domains:
    """Domains by every clusterer, as it gave them and after the majority vote."""
    from stalign_core.domains import assign_domains

    nearest = group.nearest(group.settings.domains.refine_neighbors)
    domains: Domains = {}
    for clusterer in CLUSTERERS:
        found = assign_domains(space, n_domains, clusterer, trial.seed, spot_names=group.spot_names, nearest=nearest)
        domains[clusterer] = found.domain_unrefined
        if trial.arm.model != "alone":
            domains[f"{clusterer}{REFINED}"] = found.domain
    return domains


def _scib_total(group: Group, trial: Trial, space: NDArray[np.float32], settings: Settings) -> float | None:
    from stalign_core.metrics.scib import scib_total

    if not trial.scib_spots:
        return None
    return scib_total(
        space,
        baseline=group.expression("pca", "cohort"),
        labels=group.labels,
        batches=group.batches,
        ignored_labels=settings.domains.ignored_labels,
        max_spots=trial.scib_spots,
        seed=trial.seed,
    )

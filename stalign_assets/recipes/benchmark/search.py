"""One outer fold: tune on its tuning donors, test on its test donors, and vary single hyperparameters there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import SPLITS
from stalign_assets.recipes.samples import used_encoders, used_representations
from stalign_core.store.hashing import canonical_json

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.recipes.benchmark.trials import Bench
    from stalign_assets.recipes.recipe import Task
    from stalign_core.benchmark.arms import Arm, Trial
    from stalign_core.settings import Settings

REFINED: Final = "+refined"

Groups = dict[str, list[str]]
"""Donors by group."""


@dataclass(frozen=True)
class Fold:
    """An outer fold, as the table of splits has it."""

    name: str
    task: str
    number: int
    tuning: Groups
    test: Groups


def folds_in(splits: pd.DataFrame) -> list[Fold]:
    """The folds of a table of splits."""
    found = []
    for (task, number), rows in splits.groupby(["task", "fold"], sort=False):
        groups = {
            role: {str(group): sorted(set(part["donor"])) for group, part in of_role.groupby("group")}
            for role, of_role in rows.groupby("role")
        }
        found.append(
            Fold(f"{task}_{number}", str(task), int(str(number)), groups.get("tuning", {}), groups.get("test", {}))
        )
    return found


def arms_of_study(settings: Settings) -> list[Arm]:
    """The arms that this study can compare."""
    from stalign_core.benchmark.arms import arms_of

    return arms_of(settings, used_encoders(settings), used_representations(settings))


def tuning_trials(settings: Settings, arm: Arm) -> list[Trial]:
    """What is tried on tuning donors: every candidate with the first seed; nothing where there is nothing to choose."""
    from stalign_core.benchmark.arms import candidates, refinements, trial_of

    tried = candidates(arm, settings)
    if len(tried) * len(refinements(arm, settings)) == 1:
        return []
    seed = settings.benchmark.seeds[0]
    return [trial_of(arm, parameters, seed, settings.benchmark) for parameters in tried]


def test_trials(settings: Settings, arm: Arm, parameters: Mapping[str, Any]) -> list[Trial]:
    """What is tested: every seed, scib-metrics' own total with the first."""
    from stalign_core.benchmark.arms import seeds_of, trial_of

    chosen = settings.benchmark
    return [
        trial_of(arm, parameters, seed, chosen, chosen.scib_spots if position == 0 else 0)
        for position, seed in enumerate(seeds_of(arm, chosen))
    ]


def ablation_trials(settings: Settings) -> list[Trial]:
    """What is varied singly."""
    from stalign_core.benchmark.arms import ablations, trial_of

    chosen = settings.benchmark
    points = ablations(settings, used_encoders(settings)[0])
    return [trial_of(arm, parameters, seed, chosen) for arm, parameters in points for seed in chosen.ablation_seeds]


def search_fold(task: Task) -> None:
    """Run the fold of the task's partition; the best of the tuning donors is tested, never the best of the test."""
    import pandas as pd

    from stalign_assets.recipes.benchmark.trials import Bench
    from stalign_core.benchmark.scores import TRIAL_COLUMNS

    (fold,) = [fold for fold in folds_in(task.one(SPLITS).table("splits.parquet")) if fold.name == task.partition]
    runner = _Runner(task, Bench(task.study, task.inputs), fold)
    tables, chosen = [], []
    for arm in arms_of_study(task.settings):
        tried, choices = runner.tune(arm)
        tables += tried
        for choice in choices:
            chosen.append({"task": fold.task, "fold": fold.number, **choice})
        tables += runner.test(arm, choices)
    tables += runner.ablate()
    # A trial is met when it is computed and when it is read.
    task.made_from[:] = dict.fromkeys(task.made_from)
    trials = pd.concat(tables, ignore_index=True)[list(TRIAL_COLUMNS)]
    task.builder.write_table("trials.parquet", trials)
    task.builder.write_table("chosen.parquet", pd.DataFrame(chosen))
    task.builder.summary.update(
        n_trials=int(trials["trial"].nunique()),
        n_trials_computed=runner.n_computed,
        tuned=bool(fold.tuning),
        test_donors=sorted({donor for donors in fold.test.values() for donor in donors}),
    )


def choose(settings: Settings, arm: Arm, tables: Sequence[pd.DataFrame]) -> list[dict[Any, Any]]:
    """What an arm's tuning trials choose per clusterer: parameters, refinement, score."""
    import pandas as pd

    from stalign_core.benchmark.arms import refinements
    from stalign_core.benchmark.scores import best_choices, tuning_scores

    table = pd.concat(tables)
    allowed = table["clusterer"].eq("") | table["refined"].isin(refinements(arm, settings))
    best = best_choices(tuning_scores(table[allowed], settings.benchmark.bio_weight))
    return best.drop(columns="trial").to_dict("records")


def told(
    metrics: pd.DataFrame,
    key: str,
    fold: Fold,
    role: str,
    group: str,
    donors: Sequence[str],
    trial: Trial,
    n_domains: int,
) -> pd.DataFrame:
    """Metrics of a trial, as rows of the table of trials."""
    arm = trial.arm
    return metrics.assign(
        trial=key,
        task=fold.task,
        fold=fold.number,
        role=role,
        grp=group,
        donors="+".join(donors),
        arm=arm.name,
        method=arm.method,
        model=arm.model,
        representation=arm.representation,
        encoder=arm.encoder,
        settings=canonical_json(trial.parameters),
        n_domains=n_domains,
        seed=trial.seed,
        refined=metrics["clusterer"].str.endswith(REFINED),
        clusterer=metrics["clusterer"].str.removesuffix(REFINED),
    )


class _Runner:
    def __init__(self, task: Task, bench: Bench, fold: Fold) -> None:
        self.task, self.bench, self.fold = task, bench, fold
        self.settings = task.settings
        self.n_computed = 0

    def tune(self, arm: Arm) -> tuple[list[pd.DataFrame], list[dict[Any, Any]]]:
        """Trials on the tuning donors, and the choice per clusterer: parameters, refinement, score."""
        from stalign_core.benchmark.arms import default_parameters, default_refinement
        from stalign_core.benchmark.trial import CLUSTERERS

        names = {"arm": arm.name, "representation": arm.representation, "encoder": arm.encoder}
        trials = tuning_trials(self.settings, arm) if self.fold.tuning else []
        if not trials:
            default = default_parameters(arm, self.settings)
            refined = default_refinement(arm, self.settings)
            return [], [
                {**names, "clusterer": name, "settings": canonical_json(default), "refined": refined, "score": None}
                for name in CLUSTERERS
            ]
        tables = list(self._run(self.fold.tuning, trials, "tuning"))
        return tables, choose(self.settings, arm, tables)

    def test(self, arm: Arm, choices: Sequence[Mapping[str, Any]]) -> list[pd.DataFrame]:
        """Every seed of each clusterer's choice on the test donors; only what was chosen is kept."""
        import json

        tables = []
        for settings in dict.fromkeys(choice["settings"] for choice in choices):
            wanted = {choice["clusterer"]: choice["refined"] for choice in choices if choice["settings"] == settings}
            for table in self._run(self.fold.test, test_trials(self.settings, arm, json.loads(settings)), "test"):
                chosen = [
                    name in wanted and wanted[name] == refined
                    for name, refined in zip(table["clusterer"], table["refined"], strict=True)
                ]
                of_space = table["clusterer"] == ""
                tables += [table[chosen], *(table[of_space].assign(clusterer=name) for name in wanted)]
        return tables

    def ablate(self) -> list[pd.DataFrame]:
        """Single hyperparameters varied on the test donors, everything else default."""
        return list(self._run(self.fold.test, ablation_trials(self.settings), "ablation"))

    def _run(self, groups: Groups, trials: Sequence[Trial], role: str) -> Iterator[pd.DataFrame]:
        wanted = [(group, donors, trial) for group, donors in groups.items() for trial in trials]
        self._compute([(donors, trial) for _, donors, trial in wanted], role)
        for group, donors, trial in wanted:
            metrics, key = self.bench.run(donors, trial, self.task)
            yield told(metrics, key, self.fold, role, group, donors, trial, self.bench.n_domains(donors))

    def _compute(self, wanted: Sequence[tuple[list[str], Trial]], role: str) -> None:
        """Compute what the store lacks; what another fold is at is left to it, and looked for last."""
        pending, done, wait = list(wanted), 0, False
        while pending:
            left = []
            for donors, trial in pending:
                name = f"{self.fold.name}, {role} of {trial.arm.name}"
                self.task.progress(name, done, len(wanted))
                place = self.bench.trial_place(donors, trial)
                with self.bench.claims.claim(place.input_key, wait=wait) as own:
                    if not own:
                        left.append((donors, trial))
                        continue
                    done += 1
                    if not self.bench.is_there(place):
                        self.n_computed += 1
                        parameters = dict(trial.parameters)
                        self.task.say(f"{name}: trial {done} of {len(wanted)}, {parameters}, seed {trial.seed}")
                        self.bench.run(donors, trial, self.task)
            # Nothing but what others are at is left: there is nothing to do but wait.
            pending, wait = left, True

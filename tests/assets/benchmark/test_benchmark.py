"""`stalign benchmark` on a tiny simulated cohort of four donors: folds, trials, tables, figures, page, resumption."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from stalign_assets.audit.staleness import stale_steps
from stalign_assets.benchmarking import run_benchmark
from stalign_assets.cli.main import cli
from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.foreseeing import foresee
from stalign_assets.garbage import roots
from stalign_assets.new_study import create_study
from stalign_assets.recipes.benchmark.recipes import RESULTS
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.recipes.benchmark.search import test_trials as of_arm
from stalign_assets.recipes.benchmark.trials import TRIALS, Bench, inputs_of_trials
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query
from stalign_assets.settings_file import set_value
from stalign_assets.study import SETTINGS_FILE, open_study
from stalign_assets.wanted import folds_of
from stalign_core.benchmark.arms import Arm, default_parameters, trial_of
from stalign_core.benchmark.trial import run_trial
from stalign_core.metrics import scib
from stalign_core.progress import silent
from stalign_core.settings import parse_settings
from stalign_core.simulate import simulate_cohort
from stalign_core.store.hashing import digest
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import stalign, the_one_error
from tests.studies import TINY_DESIGN, TINY_SETTINGS

pytestmark = pytest.mark.slow

BENCHMARK: dict[str, Any] = {
    "tasks": ["multi_donor"],
    "methods": ["uncorrected", "harmony"],
    "models": ["alone", "neighbors", "aestetik"],
    "seeds": [0, 1],
    "grids": {"harmony": {"theta": [2.0]}, "aestetik": {"morphology_weight": [0.0, 1.5], "window": [3]}},
    "windows": [1, 3],
    "morphology_weights": [1.5],
    "scib_spots": 0,
}
ONE_BY_ONE = {"execution": {"folds": 1}}
"""In this process, which a test can kill, and whose trials it can count."""
KEPT_COMPOSITE = {"metrics": {**TINY_SETTINGS["metrics"], "bio_weight": 0.1}}  # type: ignore[dict-item]
"""Weighs what trials keep otherwise than the benchmark weighs what it shows."""
DESIGN = replace(TINY_DESIGN, n_donors=4, lattice_rows=12, lattice_columns=12)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose benchmark was run."""
    root = tmp_path_factory.mktemp("benchmark")
    sheet = simulate_cohort(root / "data", DESIGN, seed=3)
    folder = root / "study"
    create_study(
        folder, sheet, parse_settings({**TINY_SETTINGS, **ONE_BY_ONE, **KEPT_COMPOSITE, "benchmark": BENCHMARK})
    )
    outcome = run_benchmark(folder)
    assert outcome.exit_code == 0, (outcome.bad_input, outcome.failures)
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "reports" / "benchmark" / f"{name}.csv", keep_default_na=False, na_values=[""])


def n_trials(folder: Path) -> int:
    return sum(artifact.manifest.asset == TRIALS for artifact in open_study(folder).store.artifacts())


def test_no_donor_that_tunes_is_tested(finished: Path) -> None:
    trials = table(finished, "trials")
    for _, rows in trials.groupby(["task", "fold"]):
        sides = {
            role: {donor for names in part["donors"] for donor in names.split("+")}
            for role, part in rows.groupby("role")
        }
        assert not sides["tuning"] & sides["test"]
        assert sides["tuning"] | sides["test"] == {"P01", "P02", "P03", "P04"}


def test_every_comparator_is_tested_with_every_seed_on_what_tuning_chose(finished: Path) -> None:
    trials, chosen = table(finished, "trials"), table(finished, "chosen")
    tests = trials[(trials["role"] == "test") & (trials["metric"] == "ari") & trials["sample"].isna()]
    arms = {f"{method}{model}" for method in ("uncorrected", "harmony") for model in ("", "+neighbors", "+aestetik")}
    arms.add("sample_standardised+neighbors")
    assert set(tests["arm"]) == arms
    assert (tests.groupby(["arm", "fold", "clusterer"])["seed"].nunique() == 2).all()
    assert (tests.groupby(["arm", "fold", "clusterer"]).size() == 2).all()
    told = tests.drop_duplicates(["fold", "arm", "clusterer"])[["fold", "arm", "clusterer", "settings", "refined"]]
    both = told.merge(chosen, on=["fold", "arm", "clusterer"], suffixes=("", "_chosen"))
    assert len(both) == len(told) == 2 * 7 * 2
    assert (both["settings"] == both["settings_chosen"]).all()
    assert (both["refined"] == both["refined_chosen"]).all()


def test_trials_of_neighbour_means_name_the_space_that_they_are_taken_of(finished: Path) -> None:
    """Uncorrected ones are of uncorrected expression; the field's baseline has a space of its own in the store."""
    store = open_study(finished).store
    artifacts = {artifact.manifest.input_key: artifact for artifact in store.artifacts()}
    raw = store.current("raw_samples", "P01")
    assert raw is not None
    means: dict[str, float] = {}
    for manifest in (artifact.manifest for artifact in artifacts.values()):
        arm = manifest.settings["arm"] if manifest.asset == TRIALS else {}
        if arm.get("model") == "neighbors" and manifest.donors == ("P01", "P02"):
            space = artifacts[digest(manifest.settings["correction"])].arrays("corrected.safetensors")["features"]
            means[arm["method"]] = np.abs(space[: raw.manifest.summary["n_spots"]].mean(axis=0)).max()
    assert means["sample_standardised"] < means["uncorrected"] / 10


def test_tuning_takes_the_best_composite_of_the_tuning_donors(finished: Path) -> None:
    trials, chosen = table(finished, "trials"), table(finished, "chosen")
    rows = trials[(trials["role"] == "tuning") & (trials["arm"] == "harmony+aestetik") & trials["sample"].isna()]
    rows = rows[rows["fold"] == 1]
    scores = {}
    for settings, of_settings in rows.groupby("settings"):
        mixing = of_settings[of_settings["clusterer"].isna()].set_index("metric")["value"]
        tied = of_settings[of_settings["clusterer"] == "tied"]
        for refined, found in tied.groupby("refined"):
            value = found.set_index("metric")["value"]
            bio = (value["ari"] + value["nmi"] + mixing["silhouette"]) / 3
            scores[settings, refined] = 0.6 * bio + 0.4 * (mixing["ilisi"] + mixing["kbet"]) / 2
    assert len(scores) == 4
    row = chosen[(chosen["arm"] == "harmony+aestetik") & (chosen["fold"] == 1) & (chosen["clusterer"] == "tied")]
    assert row["score"].iloc[0] == pytest.approx(max(scores.values()))
    assert scores[row["settings"].iloc[0], row["refined"].iloc[0]] == pytest.approx(max(scores.values()))


def test_the_composite_is_shown_as_the_benchmark_weighs_it(finished: Path) -> None:
    summary = table(finished, "summary")
    means = summary[(summary["arm"] == "harmony") & (summary["clusterer"] == "tied")].set_index("metric")["mean"]
    bio, mixing = means[["ari", "nmi", "silhouette"]].mean(), means[["ilisi", "kbet"]].mean()
    assert means["composite"] == pytest.approx(0.6 * bio + 0.4 * mixing)
    page = (finished / "reports" / "benchmark" / "benchmark.html").read_text()
    assert "<th>composite</th>" in page and f"<td>{means['composite']:.3f}</td>" in page
    printed = CliRunner().invoke(cli, ["benchmark", str(finished)], standalone_mode=False).output
    assert "composite" in printed and f"{means['composite']:.3f}" in printed


def test_page_tables_and_figures_are_there_and_what_is_missing_says_why(finished: Path) -> None:
    folder = finished / "reports" / "benchmark"
    names = {path.name for path in folder.iterdir()}
    assert {"figure_2.png", "figure_5.png", "figure_3_multi_donor.png", "figure_10_multi_donor_labels.png"} <= names
    page = (folder / "benchmark.html").read_text()
    for title in (
        "Figure 2: ARI of",
        "Figures 3 and 11: UMAP of",
        "Figure 5: window",
        "Figure 10: domains on the tissue",
    ):
        assert f"<h2>{title}" in page
    assert page.count("<img") == len([name for name in names if name.endswith(".png")])
    for name, reason in (
        ("figure_4", "external embedding"),
        ("figure_12", "one morphology encoder"),
        ("13", "network"),
    ):
        assert name in page and reason in page


def test_activity_is_drawn_with_the_studys_table_and_again_when_its_content_changes(finished: Path) -> None:
    """The benchmark's own setting is empty; what trials there are stay."""
    count, genes = n_trials(finished), _genes(finished)
    drawn = []
    for first in (0, 10):
        rows = [f"{name},{gene}" for name, start in (("p", first), ("q", 30)) for gene in genes[start : start + 10]]
        (finished / "network.csv").write_text("\n".join(["source,target", *rows]) + "\n")
        set_value(finished / SETTINGS_FILE, "downstream", "network", "network.csv")
        outcome = run_benchmark(finished)
        assert outcome.exit_code == 0, (outcome.bad_input, outcome.failures)
        drawn.append((finished / "reports" / "benchmark" / "figure_13_multi_donor.png").read_bytes())
    assert drawn[0] != drawn[1]
    assert n_trials(finished) == count


def _genes(folder: Path) -> list[str]:
    raw = open_study(folder).store.current("raw_samples", "P01")
    assert raw is not None
    return raw.anndata("P01_S1.counts.h5ad").var_names.tolist()


@pytest.mark.parametrize("name", ["trials", "splits", "chosen", "summary", "differences"])
def test_every_table_is_in_duckdb_as_in_its_csv(finished: Path, name: str) -> None:
    written = table(finished, name).rename(columns={"group": "grp"})
    stored = query(finished / "metrics.duckdb", f"select * from {name}")[list(written.columns)]
    assert len(written)
    for column in written:
        mine, theirs = (each[column].replace("", None) for each in (written, stored))
        pd.testing.assert_series_equal(theirs, mine, check_dtype=False, obj=column)


def test_trials_are_a_table_of_duckdb(finished: Path) -> None:
    found = query(finished / "metrics.duckdb", "select count(*) as n, count(distinct trial) as trials from trials")
    assert found["n"].iloc[0] == len(table(finished, "trials"))
    assert found["trials"].iloc[0] == n_trials(finished)


def test_every_fold_in_force_is_so_in_the_tables(finished: Path) -> None:
    rows = query(
        finished / "metrics.duckdb", f"select partition from artifacts where asset = '{SEARCH}' and is_current"
    )
    folds = folds_of(open_study(finished))
    assert len(folds) == 2 and sorted(rows["partition"]) == sorted(folds)
    told = query(finished / "metrics.duckdb", f"select is_current from lineage where asset = '{SEARCH}'")
    assert len(told) and told["is_current"].all()


def test_a_fold_is_audited_by_its_name(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = folds_of(open_study(finished))
    for option in ("--donor", "--partition"):
        told = json.loads(
            stalign(capsys, "audit", finished, "--asset", SEARCH, option, second, "--stale", "--json").out
        )
        assert (told["asset"], told["partition"], told["in_force"], told["stale"]) == (SEARCH, second, True, [])
    unnamed = the_one_error(stalign(capsys, "audit", finished, "--asset", SEARCH))
    assert f"has one artifact per fold; add --donor, such as {first} or {second}" in unnamed
    wrong = the_one_error(stalign(capsys, "audit", finished, "--asset", SEARCH, "--donor", "P01"))
    assert f"{SEARCH} of P01: was never materialised; expected one of {first}, {second}" in wrong
    assert "leave out --donor" in the_one_error(
        stalign(capsys, "audit", finished, "--asset", RESULTS, "--donor", first)
    )


def test_what_the_results_are_made_from_is_stale_where_a_search_is(finished: Path) -> None:
    study = open_study(finished)
    recipes = recipes_of(study.settings)
    assert stale_steps(study, recipes, RESULTS, UNPARTITIONED) == []
    seeds = study.settings.benchmark.model_copy(update={"seeds": (0, 1, 2)})
    wider = replace(study, settings=study.settings.model_copy(update={"benchmark": seeds}))
    folds = folds_of(study)
    steps = stale_steps(wider, recipes, RESULTS, UNPARTITIONED)
    assert [(step.asset, step.partition) for step in steps] == [*((SEARCH, fold) for fold in folds), (RESULTS, "_all")]
    assert [step.state for step in steps] == ["changed", "changed", "waiting"]
    assert steps[-1].reason == f"for {SEARCH} of {folds[0]}"
    (step,) = stale_steps(wider, recipes, SEARCH, folds[1])
    assert (step.partition, step.state) == (folds[1], "changed")


def test_a_second_run_computes_nothing_and_gives_the_same_numbers(finished: Path) -> None:
    before, count = table(finished, "summary"), n_trials(finished)
    outcome = run_benchmark(finished)
    assert outcome.forecast is not None and outcome.forecast.n_trials == 0
    assert n_trials(finished) == count
    pd.testing.assert_frame_equal(table(finished, "summary"), before)


def test_what_tuning_chose_is_known_where_all_of_it_is_there(finished: Path) -> None:
    """A search that lacks only its own table: all that it needs is there, and figures are to be drawn again."""
    study = open_study(finished)
    fewer = study.settings.benchmark.model_copy(update={"windows": (1,)})
    study = replace(study, settings=study.settings.model_copy(update={"benchmark": fewer}))
    found = foresee(study)
    assert (found.n_trials, found.n_corrections) == (0, 0) and found.n_reused > 0
    assert found.expected > 0 and foresee(open_study(finished)).expected == 0


def test_trials_are_kept_by_garbage_collection_as_inputs_of_the_results(finished: Path) -> None:
    study = open_study(finished)
    places = {(a.manifest.asset, a.manifest.partition, a.manifest.input_key): a for a in study.store.artifacts()}
    results = [place for place in roots(study) if place[0] == "benchmark/results"]
    assert len(results) == 1
    named = {record.input_key for record in places[results[0]].manifest.inputs if record.asset == TRIALS}
    assert named == {place[2] for place in places if place[0] == TRIALS}


def die_at_the_third_new_trial(folder: Path) -> None:
    """Go on with a search, and be killed when the third trial that it lacks is computed and not yet kept."""
    keep, kept = Bench._keep, []

    def dying(self: Bench, place: Any, *arguments: Any) -> Any:
        kept.append(place.asset)
        if kept.count(TRIALS) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return keep(self, place, *arguments)

    Bench._keep = dying  # type: ignore[method-assign]
    run_benchmark(folder)


def test_a_wider_grid_adds_only_its_difference_and_a_killed_search_resumes(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (finished / SETTINGS_FILE).read_text()
    count = n_trials(finished)
    wider = text.replace("morphology_weight = [0.0, 1.5]", "morphology_weight = [0.0, 1.5, 3.0]")
    assert wider != text
    (finished / SETTINGS_FILE).write_text(wider)
    killed = multiprocessing.get_context("spawn").Process(target=die_at_the_third_new_trial, args=(finished,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert n_trials(finished) == count + 2, "what was done before the kill is kept, and nothing half done"
    keep, resumed = Bench._keep, []

    def counting(self: Bench, place: Any, *arguments: Any) -> Any:
        resumed.append(place.asset)
        return keep(self, place, *arguments)

    monkeypatch.setattr(Bench, "_keep", counting)
    outcome = run_benchmark(finished)
    assert outcome.exit_code == 0
    assert resumed.count(TRIALS) == n_trials(finished) - count - 2 > 0, "what was kept is not computed again"
    trials = table(finished, "trials")
    tuning = trials[trials["role"] == "tuning"]
    # One weight more: a trial per fold and arm with AESTETIK; nothing else of the tuning is new.
    added = set(trials["trial"]) - set(query_trials(finished, count))
    new = tuning[tuning["trial"].isin(added)]
    assert new["trial"].nunique() == 2 * 2
    assert {json.loads(each)["morphology_weight"] for each in new["settings"]} == {3.0}


def query_trials(folder: Path, count: int) -> list[str]:
    """Keys of the trials that were there first."""
    trials = [a.manifest for a in open_study(folder).store.artifacts() if a.manifest.asset == TRIALS]
    return [manifest.input_key for manifest in sorted(trials, key=lambda each: each.created)[:count]]


def test_the_command_prints_a_forecast_and_a_machine_readable_summary(finished: Path) -> None:
    found = CliRunner().invoke(cli, ["benchmark", str(finished), "--dry-run", "--json"], standalone_mode=False)
    said = json.loads(found.output[found.output.index("{") :])
    assert said["success"] and said["forecast"]["n_trials"] == 0


def bench_of(folder: Path) -> Bench:
    """Trials on the donors of a study."""
    study = open_study(folder)
    inputs = {
        each.asset: {donor: study.store.current(each.asset, donor) for donor in study.cohort.donors}
        for each in inputs_of_trials(study.settings)
    }
    return Bench(study, inputs)  # type: ignore[arg-type]


class Quiet:
    """A task that nobody follows."""

    progress = staticmethod(silent)
    say = staticmethod(print)

    def __init__(self) -> None:
        self.made_from: list[Any] = []


def test_the_total_of_scib_metrics_is_taken_with_the_first_seed(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[Any, dict[str, Any], float | None]] = []
    whole = scib.scib_total

    def noting(space: Any, **words: Any) -> float | None:
        taken.append((space, words, whole(space, **words)))
        return taken[-1][2]

    monkeypatch.setattr(scib, "scib_total", noting)
    bench = bench_of(finished)
    given = bench.study.settings.benchmark.model_copy(update={"scib_spots": 120})
    settings = bench.study.settings.model_copy(update={"benchmark": given})
    first, second = of_arm(settings, Arm("harmony", "alone"), {"theta": 2.0})
    assert (first.seed, first.scib_spots, second.seed, second.scib_spots) == (0, 120, 1, 0)
    donors, task = ("P01", "P02"), Quiet()
    metrics, _ = bench.run(donors, first, task)  # type: ignore[arg-type]
    (total,) = metrics.loc[metrics["metric"] == "scib_total", "value"]
    without, _ = bench.run(donors, second, task)  # type: ignore[arg-type]
    assert "scib_total" not in set(without["metric"])
    ((space, words, value),) = taken
    assert total == value
    assert 0 < total < 1
    np.testing.assert_array_equal(space, bench.corrected(donors, first, task))  # type: ignore[arg-type]
    group = bench.group(donors, task)  # type: ignore[arg-type]
    np.testing.assert_array_equal(words.pop("baseline"), group.expression("pca", "cohort"))
    np.testing.assert_array_equal(words.pop("labels"), group.labels)
    np.testing.assert_array_equal(words.pop("batches"), group.batches)
    assert words == {"ignored_labels": settings.domains.ignored_labels, "max_spots": 120, "seed": 0}


def test_a_trial_of_all_donors_is_what_the_study_itself_finds(finished: Path) -> None:
    """The benchmark and the cohort scope are two programs for one recipe."""
    study = open_study(finished)
    report = bring_up_to_date(Request.parse(finished, scopes="cohort", variants="harmony"))
    assert report.success
    donors, bench, task = study.cohort.donors, bench_of(finished), Quiet()
    arm = Arm("harmony", "aestetik", encoder="texture")
    trial = trial_of(arm, default_parameters(arm, study.settings), 0, study.settings.benchmark)

    group = bench.group(donors, task)  # type: ignore[arg-type]
    corrected = group.correct("harmony", "pca", trial.settings(study.settings), 0).features
    result = run_trial(group, trial, corrected, bench.n_domains(donors))
    stored = study.store.current("cohort/harmony/domains", "_all")
    assert stored is not None
    assert list(result.domains["tied+refined"]) == list(stored.table("domains.parquet")["domain"])
    assert foresee(study).n_trials == 0

"""What a forecast is made of: costs by spots and settings, this machine's pace, chances, and folds at once."""

from __future__ import annotations

import os
from typing import Any, get_args

import pytest

from stalign_core.benchmark import pace
from stalign_core.benchmark.forecast import (
    FIGURE_SECONDS,
    MARGIN,
    SCIB_SECONDS,
    SCIB_START_SECONDS,
    START_SECONDS,
    WITH_SCIB,
    Costs,
    Work,
    forecast,
)
from stalign_core.benchmark.pace import Pace, measure_pace
from stalign_core.correction.registry import METHODS
from stalign_core.settings import BenchmarkModel, parse_settings


def costs(pace: Pace | None = None, measured: dict[str, list[float]] | None = None, **tables: Any) -> Costs:
    """Of a study with these settings."""
    return Costs(parse_settings(tables), measured or {}, pace or Pace())


def test_time_grows_with_spots_epochs_and_the_slowness_of_the_machine() -> None:
    small, large = Work("trial/aestetik", 1000), Work("trial/aestetik", 4000)
    assert costs().seconds(large) == pytest.approx(4 * costs().seconds(small))
    few, many = (costs(aestetik={"epochs": epochs}).seconds(small) for epochs in (10, 100))
    assert many > few > costs().seconds(Work("trial/alone", 1000))
    assert costs(Pace(2.5, 1.0)).seconds(small) == pytest.approx(2.5 * costs().seconds(small))


def test_scvi_costs_by_its_epochs_until_early_stopping() -> None:
    training = Work("correction/scvi", 1000)
    one, two, usual, most = (
        costs(correction={"scvi": {"max_epochs": epochs}}).seconds(training) for epochs in (1, 2, 100, 400)
    )
    assert two == pytest.approx(2 * one)
    assert most == usual > 10 * one


def test_the_total_of_scib_metrics_costs_the_same_on_few_spots_and_on_many() -> None:
    extra = [
        costs().seconds(Work("trial/alone+scib", spots)) - costs().seconds(Work("trial/alone", spots))
        for spots in (1000, 10_000)
    ]
    assert extra == pytest.approx([SCIB_SECONDS, SCIB_SECONDS])


def test_a_process_that_takes_the_total_of_scib_metrics_begins_by_compiling_it() -> None:
    plain, with_scib = (
        forecast([Work(kind, 1000)], costs(), 0).expected for kind in ("trial/alone", "trial/alone+scib")
    )
    assert with_scib - plain == pytest.approx(SCIB_SECONDS + SCIB_START_SECONDS)


def test_what_this_machine_took_is_believed_and_what_compiled_is_not() -> None:
    measured = {"trial/alone": [0.5, 0.002, 0.003]}
    assert costs(Pace(9.0, 1.5), measured).seconds(Work("trial/alone", 100)) == pytest.approx(0.003 * 100 * 1.5)


def test_what_may_not_be_needed_counts_by_its_chance_and_at_most_whole() -> None:
    work = [Work("trial/alone", 10_000), Work("trial/alone", 10_000, chance=0.5)]
    each = costs().seconds(work[0])
    found = forecast(work, costs(), n_reused=7)
    assert (found.n_trials, found.n_corrections, found.n_reused) == (2, 0, 7)
    assert found.expected == pytest.approx(START_SECONDS + FIGURE_SECONDS + 1.5 * each)
    assert found.longest == pytest.approx(MARGIN * (START_SECONDS + FIGURE_SECONDS + 2 * each))


def test_folds_at_once_take_as_long_as_the_fullest_lane() -> None:
    work = [Work("trial/alone", spots, fold) for fold, spots in (("a", 30_000), ("b", 10_000), ("c", 10_000))]
    seconds = [costs().seconds(each) for each in work]
    one, two, three = (forecast(work, costs(), 0, at_once).expected for at_once in (1, 2, 3))
    assert one == pytest.approx(START_SECONDS + FIGURE_SECONDS + sum(seconds))
    assert two == pytest.approx(FIGURE_SECONDS + max(START_SECONDS + seconds[0], 2 * START_SECONDS + sum(seconds[1:])))
    assert three == pytest.approx(START_SECONDS + FIGURE_SECONDS + seconds[0])
    assert "3 folds at once" in forecast(work, costs(), 0, 3).line()


def test_nothing_to_compute_takes_no_time() -> None:
    found = forecast([], costs(), n_reused=3, shown=None)
    assert (found.expected, found.longest) == (0.0, 0.0)
    assert found.line() == "nothing to compute; 3 trials are there"


def test_figures_cost_what_they_compute_again_also_where_all_trials_are_there() -> None:
    again = [Work(kind, spots) for spots in (4000, 9000) for kind in ("trial/alone", "trial/aestetik")]
    found = forecast([], costs(Pace(2.0, 1.0)), n_reused=3, shown=again)
    computed = sum(costs(Pace(2.0, 1.0)).seconds(each) for each in again)
    assert found.expected == pytest.approx(2 * (START_SECONDS + FIGURE_SECONDS) + computed)
    assert (found.n_trials, found.longest) == (0, pytest.approx(MARGIN * found.expected))
    assert found.line().startswith("no trial to compute, 3 are there; tables and figures take about ")
    work = [Work("trial/alone", 1000)]
    more, less = (forecast(work, costs(), 0, shown=each).expected for each in (again, ()))
    assert more - less == pytest.approx(sum(costs().seconds(each) for each in again))


def die(_: Any) -> None:
    """Stands in for a timing that is killed."""
    os._exit(9)


def test_a_timing_that_dies_is_no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_time_together", die)
    assert measure_pace(2) == Pace()


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_pace_is_of_work_that_was_really_done(at_once: int) -> None:
    found = measure_pace(at_once)
    assert found.load >= 1.0
    assert 0.05 < found.slowness < 100


def test_every_kind_of_computation_has_a_cost() -> None:
    kinds = [f"correction/{name}" for name in METHODS]
    kinds += [f"trial/{name}{scib}" for name in get_args(BenchmarkModel) for scib in ("", WITH_SCIB)]
    assert len(kinds) == 4 + 2 * 4
    assert all(costs().seconds(Work(kind, 1000)) > 0 for kind in kinds)

"""What the bars of the paper's figures are means of."""

from __future__ import annotations

import json
from itertools import product

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stalign_assets.recipes.benchmark.figures import (
    MissingDataError,
    figure_2,
    figure_4,
    figure_5,
    figure_12,
    title_of,
)
from stalign_core.benchmark.arms import Arm, default_parameters
from stalign_core.plots import benchmark as plots
from stalign_core.settings import parse_settings

SETTINGS = parse_settings({})


def trials(encoders: tuple[str, ...], representations: tuple[str, ...]) -> pd.DataFrame:
    """Tests of Harmony alone and with the model, each encoder and representation with values of its own."""
    rows = []
    for number, (encoder, representation, seed, metric) in enumerate(
        product(("", *encoders), representations, (0, 1), ("ari", "ari_donor_annotated"))
    ):
        model = "aestetik" if encoder else "alone"
        arm = "harmony+aestetik" if encoder else "harmony"
        rows.append(("multi_donor", "harmony", model, arm, representation, encoder, metric, "f1", seed, number / 40))
    columns = ["task", "method", "model", "arm", "representation", "encoder", "metric", "fold", "seed", "value"]
    return pd.DataFrame(rows, columns=columns).assign(sample="", clusterer=SETTINGS.domains.clusterer)


@pytest.mark.parametrize("figure", [figure_2, figure_4])
def test_arms_of_a_second_encoder_are_no_part_of_other_bars(figure) -> None:  # type: ignore[no-untyped-def]
    both = trials(("texture", "inception"), ("pca", "outside"))
    one = both[both["encoder"] != "inception"]
    assert figure(both, SETTINGS) == figure(one, SETTINGS)
    assert figure(both, SETTINGS) != figure(both[both["seed"] == 0], SETTINGS), "a change of the rest would show"


TASKS = {"single_donor": 0.8, "multi_donor": 0.2}
SHOWN = {"single_donor": "single donor", "multi_donor": "several donors jointly"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures, as they are turned into pictures."""
    found: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        found.append(figure)
        return b""

    monkeypatch.setattr(plots, "to_png", keep)
    return found


def ablated(task: str, value: float) -> pd.DataFrame:
    """Ablations of Harmony with the model on one group: every window and weight with the same value."""
    default = default_parameters(Arm("harmony", "aestetik"), SETTINGS)
    points = [{**default, "window": 1}, default, {**default, "morphology_weight": 3.0}]
    rows = [(f"{task}{n}", task, "g", json.dumps(point), value) for n, point in enumerate(points)]
    return pd.DataFrame(rows, columns=["trial", "task", "grp", "settings", "value"]).assign(
        role="ablation",
        method="harmony",
        metric="ari",
        sample="",
        clusterer=SETTINGS.domains.clusterer,
        refined=SETTINGS.domains.refine,
    )


def test_hyperparameters_of_one_task_are_not_averaged_with_those_of_another(drawn: list[Figure]) -> None:
    figure_5(pd.concat([ablated(task, value) for task, value in TASKS.items()]), SETTINGS)
    (figure,) = drawn
    shown = {(ax.get_title(loc="left"), ax.get_xlabel()): {*ax.lines[0].get_ydata()} for ax in figure.axes}  # type: ignore[misc]
    parameters = ("window", "morphology weight")
    assert shown == {(SHOWN[task], name): {value} for task, value in TASKS.items() for name in parameters}


def test_embeddings_are_compared_within_a_task(drawn: list[Figure]) -> None:
    both = trials(("texture",), ("pca", "outside"))
    figure_4(pd.concat([both.assign(task=task, value=value) for task, value in TASKS.items()]), SETTINGS)
    (figure,) = drawn
    shown = {ax.get_title(loc="left"): {round(bar.get_height(), 9) for bar in ax.patches} for ax in figure.axes}  # type: ignore[attr-defined]
    assert shown == {
        f"{SHOWN[task]}: {metric}": {value}
        for task, value in TASKS.items()
        for metric in ("ARI with labels ↑", "ARI with donors ↓")
    }


def test_figures_that_lack_what_they_compare_say_so() -> None:
    with pytest.raises(MissingDataError, match="external embedding"):
        figure_4(trials(("texture",), ("pca",)), SETTINGS)
    with pytest.raises(MissingDataError, match="one morphology encoder only"):
        figure_12(trials(("texture",), ("pca",)), SETTINGS)


def test_pictures_are_called_by_the_papers_figure_what_it_shows_task_and_part() -> None:
    assert title_of("figure_12") == "Figure 12: morphology encoders"
    assert title_of("figure_3_single_donor") == (
        "Figures 3 and 11: UMAP of uncorrected, corrected and multi-modal spots, single donor"
    )
    assert title_of("figure_10_multi_donor_harmony_aestetik") == (
        "Figure 10: domains on the tissue, several donors jointly, harmony aestetik"
    )

"""What the bars of the paper's figures are means of."""

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest

from stalign_assets.recipes.benchmark.figures import MissingDataError, figure_2, figure_4, figure_12, title_of
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

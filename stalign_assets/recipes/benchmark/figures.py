"""The paper's figures from the study's own trials; each is left out, with the reason, where they cannot fill it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from stalign_core.settings import Settings

TITLES: Final = {
    "single_donor": "single donor",
    "multi_donor": "several donors jointly",
    "alone": "correction alone",
    "neighbors": "mean over neighbours",
    "aestetik": "with AESTETIK",
    "reference": "with the published preset",
    "sample_standardised": "standardised within samples",
    "window": "window",
    "morphology_weight": "morphology weight",
    "ari": "ARI with labels ↑",
    "ari_donor_annotated": "ARI with donors ↓",
}


class MissingDataError(Exception):
    """The study holds nothing that a figure could show; the message says why."""


def figure_2(tests: pd.DataFrame, settings: Settings) -> bytes:
    """ARI by method, alone and with a model, by task."""
    from stalign_core.plots.benchmark import grouped_bars

    rows = _with_one_encoder(_pooled(tests, settings, "ari"))
    rows = rows[rows["representation"] == "pca"]
    return grouped_bars(
        _per_fold_and_seed(rows), panel="task", place="method", series="model", axis="ARI", titles=TITLES
    )


def figure_4(tests: pd.DataFrame, settings: Settings) -> bytes:
    """The PCA against external embeddings, by task: agreement with labels and with donors."""
    from stalign_core.plots.benchmark import grouped_bars

    if tests["representation"].nunique() < 2:
        raise MissingDataError("no variant of study.toml names an external embedding ([representations])")
    import pandas as pd

    shown = pd.concat([_with_one_encoder(_pooled(tests, settings, name)) for name in ("ari", "ari_donor_annotated")])
    shown = shown[shown["method"].isin(["uncorrected", "harmony"]) & shown["model"].isin(["alone", "aestetik"])]
    values = _per_fold_and_seed(shown)
    panels = values["task"].map(TITLES.__getitem__) + ": " + values["metric"].map(TITLES.__getitem__)
    return grouped_bars(
        values.assign(panel=panels), panel="panel", place="arm", series="representation", axis="ARI", titles=TITLES
    )


def figure_5(trials: pd.DataFrame, settings: Settings) -> bytes:
    """Window and morphology weight, each varied alone, by task."""
    import pandas as pd

    from stalign_core.benchmark.arms import default_parameters
    from stalign_core.plots.benchmark import hyperparameter_curves

    rows = trials[(trials["role"] == "ablation") & (trials["metric"] == "ari") & (trials["sample"] == "")]
    rows = rows[(rows["clusterer"] == settings.domains.clusterer) & (rows["refined"] == settings.domains.refine)]
    if rows.empty:
        raise MissingDataError("nothing was ablated (benchmark.windows, benchmark.morphology_weights)")
    from stalign_core.benchmark.arms import Arm

    found = []
    for row in rows.drop_duplicates(["trial", "task", "grp"]).itertuples():
        parameters = json.loads(str(row.settings))
        default = default_parameters(Arm(row.method, "aestetik"), settings)  # type: ignore[arg-type]
        for name in ("window", "morphology_weight"):
            others = [key for key in parameters if key != name]
            if all(parameters[key] == default[key] for key in others):
                place = {"task": row.task, "parameter": name, "setting": parameters[name], "method": row.method}
                found.append({**place, "value": row.value})
    values = pd.DataFrame(found)
    panels = [name for name in ("window", "morphology_weight") if (values["parameter"] == name).any()]
    return hyperparameter_curves(values, row="task", panels=panels, series="method", axis="ARI", titles=TITLES)


def figure_12(tests: pd.DataFrame, settings: Settings) -> bytes:
    """Encoders side by side."""
    from stalign_core.plots.benchmark import grouped_bars

    rows = _pooled(tests, settings, "ari")
    rows = rows[(rows["model"] == "aestetik") & (rows["representation"] == "pca")]
    if rows["encoder"].nunique() < 2:
        raise MissingDataError("the variants of study.toml name one morphology encoder only ([encoders])")
    return grouped_bars(
        _per_fold_and_seed(rows), panel="task", place="method", series="encoder", axis="ARI", titles=TITLES
    )


FIGURES_OF_TESTS: Final[dict[str, Callable[[pd.DataFrame, Settings], bytes]]] = {
    "figure_2": figure_2,
    "figure_4": figure_4,
    "figure_12": figure_12,
}

FIGURE_TITLES: Final = {
    "figure_2": "Figure 2: ARI of correction alone, and of what follows it",
    "figure_3": "Figures 3 and 11: UMAP of uncorrected, corrected and multi-modal spots",
    "figure_4": "Figure 4: principal components against an external embedding",
    "figure_5": "Figure 5: window and morphology weight, each varied alone",
    "figure_10": "Figure 10: domains on the tissue",
    "figure_12": "Figure 12: morphology encoders",
    "figure_13": "Figure 13: pathway activity by domain",
}
"""By the name that a picture begins with; a task, and what is shown of it, may follow."""


def title_of(picture: str) -> str:
    """What a picture is called on the page: ``figure_10_multi_donor_labels`` names figure, task and part."""
    figure, number, *rest = picture.split("_")
    title = FIGURE_TITLES[f"{figure}_{number}"]
    task, part = "_".join(rest[:2]), " ".join(rest[2:])
    return ", ".join(each for each in (title, TITLES.get(task, ""), part) if each)


def _pooled(tests: pd.DataFrame, settings: Settings, metric: str) -> pd.DataFrame:
    rows = tests[(tests["metric"] == metric) & (tests["sample"] == "")]
    return rows[rows["clusterer"] == settings.domains.clusterer]


def _with_one_encoder(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the arms of further encoders, which figure 12 is for: bars that compare something else would mix them."""
    first = next((name for name in rows["encoder"] if name), "")
    return rows[rows["encoder"].isin(["", first])]


def _per_fold_and_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the groups of a fold: one dot per fold and seed."""
    by = ["task", "method", "model", "arm", "representation", "encoder", "metric", "fold", "seed"]
    return rows.groupby(by, sort=False)["value"].mean().reset_index()

"""What all folds say together: tables, the paper's figures, and one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stalign_assets.recipes.benchmark.figures import FIGURES_OF_TESTS, MissingDataError, figure_5, title_of
from stalign_assets.recipes.recipe import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.recipes.recipe import Task

SEARCH: Final = "benchmark/search"
TABLES: Final = ("splits", "trials", "chosen", "summary", "differences")
SHOWN_METRICS: Final = (
    "ari",
    "nmi",
    "ari_donor_annotated",
    "silhouette",
    "ilisi",
    "kbet",
    "composite",
    "scib_total",
    "chaos",
    "pas",
)


def gather(task: Task) -> None:
    """Join the folds' trials and summarise them."""
    import pandas as pd

    from stalign_core.benchmark.scores import paired_differences, summarise, with_composite

    folds = task.inputs[SEARCH]
    trials = pd.concat([artifact.table("trials.parquet") for artifact in folds.values()], ignore_index=True)
    trials = with_composite(trials, task.settings.benchmark.bio_weight)
    tests = trials[trials["role"] == "test"]
    tables = {
        "splits": task.one(SPLITS).table("splits.parquet"),
        "trials": trials,
        "chosen": pd.concat([artifact.table("chosen.parquet") for artifact in folds.values()], ignore_index=True),
        "summary": summarise(tests),
        "differences": paired_differences(tests),
    }
    for name, table in tables.items():
        task.builder.write_table(f"{name}.parquet", table)
    task.builder.write_json("notes.json", task.one(SPLITS).manifest.summary["notes"])
    # The folds' own inputs are kept with them: their trials are named there.
    for artifact in folds.values():
        task.made_from.extend(each for each in artifact.manifest.inputs if each.asset.startswith("benchmark/"))
    task.builder.summary.update(n_folds=len(folds), n_trials=int(trials["trial"].nunique()))


def draw_figures(task: Task) -> None:
    """Every figure that the study's trials can fill, and why the others are missing."""
    results = task.one("benchmark/results")
    trials = results.table("trials.parquet")
    tests = trials[trials["role"] == "test"]
    missing: dict[str, str] = {}
    for name, draw in FIGURES_OF_TESTS.items():
        try:
            task.builder.write_bytes(f"{name}.png", draw(tests, task.settings))
        except MissingDataError as error:
            missing[name] = str(error)
    try:
        task.builder.write_bytes("figure_5.png", figure_5(trials, task.settings))
    except MissingDataError as error:
        missing["figure_5"] = str(error)
    missing |= _draw_spots(task, tests)
    task.builder.write_json("missing.json", missing)
    from stalign_core.plots import thumbnail

    for name in [name for name in task.builder.files if name.endswith(".png")]:
        picture = (task.builder.staging / name).read_bytes()
        task.builder.write_bytes(f"{name.removesuffix('.png')}.thumbnail.png", thumbnail(picture))
    task.builder.summary["missing"] = missing


def _draw_spots(task: Task, tests: pd.DataFrame) -> dict[str, str]:
    """Figures 3, 10 and 13, of the first fold of each task."""
    from stalign_assets.recipes.benchmark.search import folds_in
    from stalign_assets.recipes.benchmark.showcase import Showcase, figure_3, figure_10, figure_13
    from stalign_assets.recipes.benchmark.trials import Bench

    bench = Bench(task.study, task.inputs)
    missing: dict[str, str] = {}
    drawn: set[str] = set()
    for fold in folds_in(task.one("benchmark/results").table("splits.parquet")):
        if fold.task in drawn:
            continue
        drawn.add(fold.task)
        shown = Showcase(task, bench, fold, tests)
        for name, draw in (("figure_3", figure_3), ("figure_10", figure_10), ("figure_13", figure_13)):
            try:
                found = draw(shown)
            except MissingDataError as error:
                missing[f"{name}_{fold.task}"] = str(error)
                continue
            pictures = found if isinstance(found, dict) else {"": found}
            for part, picture in pictures.items():
                place = "_".join(each for each in (name, fold.task, part.replace("+", "_")) if each)
                task.builder.write_bytes(f"{place}.png", picture)
    return missing


def write_page(task: Task) -> None:
    """One HTML page, with tables and figures in it."""
    from stalign_core.benchmark.page import page

    results, figures = task.one("benchmark/results"), task.one("benchmark/figures")
    pictures = {
        name.removesuffix(".png"): figures.bytes(name)
        for name in figures.names("*.png")
        if not name.endswith(".thumbnail.png")
    }
    text = page(
        {name: results.table(f"{name}.parquet") for name in ("summary", "differences", "chosen", "splits")},
        pictures,
        titles={name: title_of(name) for name in pictures},
        notes=results.json("notes.json"),
        missing=figures.json("missing.json"),
        clusterer=task.settings.domains.clusterer,
        metrics=SHOWN_METRICS,
        settings=task.settings.benchmark.model_dump(mode="json"),
        packages=_packages(),
    )
    task.builder.write_bytes("benchmark.html", text.encode())
    task.builder.write_json("made_of.json", {"results": results.manifest.data_version, "figures": sorted(pictures)})


def deal_folds(task: Task) -> None:
    """Which donors tune and which test, from the labels that they have."""
    import pandas as pd

    from stalign_assets.recipes.samples import RAW
    from stalign_core.benchmark.splits import plan_splits
    from stalign_core.domains.annotation import distinct_labels

    ignored = task.settings.domains.ignored_labels
    donors: dict[str, list[str]] = {}
    unlabelled = []
    for donor in task.donors:
        samples = task.of_donor(RAW, donor).manifest.summary["samples"]
        if any(distinct_labels(facts["labels"], ignored) for facts in samples.values()):
            donors[donor] = sorted(samples)
        else:
            unlabelled.append(donor)
    chosen = task.settings.benchmark
    splits, notes = plan_splits(donors, chosen.tasks, chosen.folds, chosen.tune)
    if unlabelled:
        notes.append(f"left out, because no spot of theirs has a label: {', '.join(unlabelled)}")
    for line in notes:
        task.say(line)
    task.builder.write_table("splits.parquet", splits)
    folds = [
        f"{name}_{fold}" for name, fold in pd.unique(pd.Series(list(zip(splits["task"], splits["fold"], strict=True))))
    ]
    task.builder.summary.update(folds=folds, notes=notes, n_donors=len(donors))


def _packages() -> dict[str, str]:
    from stalign_assets.materialise import recorded_packages

    return recorded_packages()

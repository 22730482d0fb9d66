"""Recipes of the group `benchmark`; no run asks for them but `stalign benchmark` and the UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.benchmark.results import SEARCH, deal_folds, draw_figures, gather, write_page
from stalign_assets.recipes.benchmark.search import search_fold
from stalign_assets.recipes.benchmark.showcase import benchmark_network
from stalign_assets.recipes.benchmark.trials import inputs_of_trials
from stalign_assets.recipes.downstream import activity_settings, network_source
from stalign_assets.recipes.recipe import BENCHMARK_GROUP, SPLITS, Input, KeyContext, Recipe, SourceFile
from stalign_assets.recipes.samples import RAW

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.settings import Settings

RESULTS: Final = "benchmark/results"
FIGURES: Final = "benchmark/figures"
REPORT: Final = "benchmark/report"

_SPLITS_VERSION: Final = 1
_SEARCH_VERSION: Final = 3
_RESULTS_VERSION: Final = 3
_FIGURES_VERSION: Final = 4
_REPORT_VERSION: Final = 3


def benchmark_recipes(settings: Settings) -> Iterator[Recipe]:
    """Folds, the search of each, and what they say together."""
    yield Recipe(
        asset=SPLITS,
        group=BENCHMARK_GROUP,
        description="Outer folds of the nested cross-validation: donors that tune, donors that are tested.",
        partitioning="none",
        code_version=_SPLITS_VERSION,
        inputs=(Input(RAW, ("*.labels.parquet",)),),
        settings=_split_settings,
        compute=deal_folds,
        kinds=("parquet",),
    )
    yield Recipe(
        asset=SEARCH,
        group=BENCHMARK_GROUP,
        description="Hyperparameters chosen on the fold's tuning donors, tested on its test donors.",
        partitioning="fold",
        code_version=_SEARCH_VERSION,
        inputs=(Input(SPLITS), *inputs_of_trials(settings)),
        settings=_search_settings,
        compute=search_fold,
        pool="gpu",
        kinds=("torch",),
    )
    yield Recipe(
        asset=RESULTS,
        group=BENCHMARK_GROUP,
        description="All trials, means with intervals over seeds, paired differences with a test over donors.",
        partitioning="none",
        code_version=_RESULTS_VERSION,
        inputs=(Input(SPLITS), Input(SEARCH)),
        settings=_result_settings,
        compute=gather,
        kinds=("parquet",),
    )
    yield Recipe(
        asset=FIGURES,
        group=BENCHMARK_GROUP,
        description="The paper's Figures 2, 3 and 11, 4, 5, 10, 12 and 13, from this study's trials.",
        partitioning="none",
        code_version=_FIGURES_VERSION,
        inputs=(Input(RESULTS), *inputs_of_trials(settings)),
        settings=_figure_settings,
        sources=_figure_sources,
        compute=draw_figures,
        pool="gpu",
        kinds=("matplotlib",),
    )
    yield Recipe(
        asset=REPORT,
        group=BENCHMARK_GROUP,
        description="One HTML page with the tables and figures of the benchmark.",
        partitioning="none",
        code_version=_REPORT_VERSION,
        inputs=(Input(RESULTS), Input(FIGURES)),
        settings=_report_settings,
        compute=write_page,
        kinds=("html",),
    )


def _split_settings(context: KeyContext) -> Mapping[str, Any]:
    chosen = context.settings.benchmark
    return {
        **chosen.model_dump(mode="json", include={"tasks", "folds", "tune"}),
        "ignored_labels": context.settings.domains.ignored_labels,
    }


def _search_settings(context: KeyContext) -> Mapping[str, Any]:
    settings = context.settings
    return {
        "benchmark": settings.benchmark,
        "seed": settings.seed,
        "expression": settings.expression,
        "morphology": settings.morphology.n_components,
        "correction": settings.correction,
        "aestetik": settings.aestetik.identity(),
        "metrics": settings.metrics,
        "domains": settings.domains.model_dump(mode="json", exclude={"n_domains"}),
    }


def _result_settings(context: KeyContext) -> Mapping[str, Any]:
    return {"bio_weight": context.settings.benchmark.bio_weight}


def _figure_settings(context: KeyContext) -> Mapping[str, Any]:
    return {**_search_settings(context), **activity_settings(context)}


def _figure_sources(study: Study, partition: str) -> Sequence[SourceFile]:  # noqa: ARG001
    network = benchmark_network(study)
    return [] if network is None else [network_source(network)]


def _report_settings(context: KeyContext) -> Mapping[str, Any]:
    return {"clusterer": context.settings.domains.clusterer, "benchmark": context.settings.benchmark}

"""The table a person reads first: each variant, corrected features alone and with AESTETIK."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_assets.planning import Freshness
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query
from stalign_core.files import replace_file
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.study import Study
    from stalign_core.settings import Settings

HEADLINE_METRICS: Final = ("ari", "nmi", "ari_donor", "silhouette", "ilisi", "kbet", "chaos", "pas")


def headline(path: Path, settings: Settings) -> pd.DataFrame:
    """One row per scope, variant and step, with its K; donor scope shows the mean over donors.

    K may differ between variants that were run at different times, and in donor scope between donors: ``k`` is the
    number, or the least and the most.

    ``correction`` rows are the corrected expression alone, ``aestetik`` rows the domains as delivered. Both use the
    study's clusterer, so that the difference is the step's.
    """
    clusterer, delivered = settings.domains.clusterer, _delivered(settings)
    names = ", ".join(f"'{name}'" for name in HEADLINE_METRICS)
    rows = query(
        path,
        f"""
        select scope, variant, step, metric, avg(value) as value, min(n_domains) as least, max(n_domains) as most
        from metrics
        where sample = '' and metric in ({names})
          and (clusterer = '' or (step = 'correction' and clusterer = '{clusterer}')
               or (step = 'aestetik' and clusterer = '{delivered}'))
        group by scope, variant, step, metric
        """,
    )
    row = ["scope", "variant", "step"]
    table = rows.pivot_table(index=row, columns="metric", values="value")
    ranges = rows.groupby(row)[["least", "most"]].agg({"least": "min", "most": "max"})
    table.insert(0, "k", [_range(*ranges.loc[index]) for index in table.index])
    return _ordered(table.reset_index(), settings)


def sample_metrics(path: Path, settings: Settings, variant: str, donor: str) -> pd.DataFrame:
    """One row per sample of a donor: metrics of the domains that the cohort's run of a variant delivered for it."""
    names = ", ".join(f"'{name}'" for name in HEADLINE_METRICS)
    rows = query(
        path,
        f"""
        select sample, metric, value from metrics
        where scope = 'cohort' and step = 'aestetik' and sample <> '' and metric in ({names})
          and clusterer in ('', '{_delivered(settings)}') and variant = $variant and donor = $donor
        """,
        variant=variant,
        donor=donor,
    )
    table = rows.pivot_table(index="sample", columns="metric", values="value").reset_index()
    columns = ["sample", *(name for name in HEADLINE_METRICS if name in table)]
    return table[columns].rename_axis(None, axis="columns")


def write_domain_tables(
    study: Study, scopes: tuple[str, ...], variants: tuple[str, ...], donors: tuple[str, ...]
) -> list[Path]:
    """Write ``reports/domains_<scope>_<variant>.csv`` with the columns sample, barcode, domain.

    Those of the cohort have a fourth, ``stable_domain``: the name that the release pinned last gives.

    Only domains that are up to date are told, and in donor scope only those of `donors`: what was found before an
    input changed, or of a donor that is left out now, holds no longer.
    """
    import pandas as pd

    study.reports.mkdir(exist_ok=True)
    freshness = Freshness(study, recipes_of(study.settings))
    written = []
    for scope in scopes:
        for variant in variants:
            asset = f"{scope}/{variant}/domains"
            partitions = donors if scope == "donor" else (UNPARTITIONED,)
            found = [study.store.current(asset, each) for each in partitions if freshness.holds(asset, each)]
            tables = [artifact.table("domains.parquet") for artifact in found if artifact is not None]
            if not tables:
                continue
            path = study.reports / f"domains_{scope}_{variant}.csv"
            told = pd.concat(tables)[["sample", "barcode", "domain"]]
            if scope == "cohort" and freshness.holds(f"{scope}/{variant}/domain_correspondence", UNPARTITIONED):
                told = told.assign(stable_domain=told["domain"].map(_stable_names(study, variant)))
            replace_file(path, told.to_csv(index=False))
            written.append(path)
    return written


def _delivered(settings: Settings) -> str:
    """The clustering that the domains are of, as the metrics name it."""
    return f"{settings.domains.clusterer}+refined" if settings.domains.refine else settings.domains.clusterer


def _stable_names(study: Study, variant: str) -> dict[str, str]:
    """The name that each domain in force has by the release pinned last."""
    named = study.store.current(f"cohort/{variant}/domain_correspondence", UNPARTITIONED)
    if named is None:
        return {}
    table = named.table("names.parquet")
    return dict(zip(table["domain"], table["stable_domain"], strict=True))


def _range(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least}-{most}"


def _ordered(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    import pandas as pd

    order = {"scope": ["cohort", "donor"], "variant": list(settings.variants), "step": ["correction", "aestetik"]}
    for column, categories in order.items():
        table[column] = pd.Categorical(table[column], categories)
    columns = [*order, "k", *(name for name in HEADLINE_METRICS if name in table)]
    return table.sort_values(list(order))[columns].astype(dict.fromkeys(order, str)).reset_index(drop=True)

"""The study as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import pandas as pd

PAPER_GAINS: Final[Mapping[str, str]] = {"harmony": "+32 %", "scanorama": "+64 %", "scvi": "+20 %"}
"""Mean ARI with AESTETIK over correction alone, single donor, LIBD (the paper, section 4.1)."""

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:.85em;margin:1em 0}"
    "td,th{border-bottom:1px solid #ddd;padding:.25em .6em;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


def main_table(summary: pd.DataFrame, clusterer: str, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per task and arm: means, and the ARI's interval over the seeds.

    Parameters
    ----------
    summary
        From `stalign_core.benchmark.scores.summarise`.
    clusterer
        Whose domains are shown.
    metrics
        Columns, in order; those that were not measured are left out.
    """
    rows = summary[summary["clusterer"] == clusterer]
    by = ["task", "arm", "representation", "encoder"]
    wide = rows.pivot_table(index=by, columns="metric", values="mean", sort=False)
    table = wide[[name for name in metrics if name in wide]].copy()
    ari = rows[rows["metric"] == "ari"].set_index(by)
    at = min(1, table.shape[1])
    for name in ("high_over_seeds", "low_over_seeds"):
        table.insert(at, f"ari_{name}", ari[name].reindex(table.index))
    table["seeds"] = ari["n_seeds"].reindex(table.index)
    return table.reset_index()


def gains_table(differences: pd.DataFrame, clusterer: str) -> pd.DataFrame:
    """What each model adds to each method's ARI over donors, beside the paper's own gains.

    Parameters
    ----------
    differences
        From `stalign_core.benchmark.scores.paired_differences`.
    clusterer
        Whose domains are shown.
    """
    shown = (differences["clusterer"] == clusterer) & (differences["representation"] == "pca")
    rows = differences[shown & (differences["unit"] == "donor")]
    place = ["task", "method", "model", "encoder", "baseline", "n_pairs"]
    table = rows[[*place, "of_baseline", "with_model", "difference", "gain", "p"]].rename(columns={"n_pairs": "donors"})
    table["gain"] = [f"{100 * gain:+.0f} %" if pd.notna(gain) else "-" for gain in table["gain"]]
    as_published = (rows["task"] == "single_donor") & (rows["model"] == "aestetik") & (rows["baseline"] == "alone")
    table["paper"] = rows["method"].map(PAPER_GAINS).where(as_published).fillna("")
    return table.reset_index(drop=True)


def page(
    tables: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, bytes],
    *,
    titles: Mapping[str, str],
    notes: Sequence[str],
    missing: Mapping[str, str],
    clusterer: str,
    metrics: Sequence[str],
    settings: Mapping[str, Any],
    packages: Mapping[str, str],
) -> str:
    """The page's text.

    Parameters
    ----------
    tables
        ``summary``, ``differences``, ``chosen``, ``splits``.
    pictures
        PNG bytes by name; ``figure_2`` stands for the paper's Figure 2.
    titles
        What each picture is called.
    notes
        What the donors did not allow.
    missing
        Why a figure is not there.
    clusterer, metrics
        As in `main_table`.
    settings, packages
        What the numbers follow from.
    """
    other = "kmeans" if clusterer == "tied" else "tied"
    parts = ["<h1>Benchmark</h1>", _list(notes)]
    parts += [
        "<h2>Tests</h2>",
        "<p>Mean over folds and groups, with a 95 % interval over seeds. Settings were chosen on "
        "other donors, unless a line above says that nothing was tuned.</p>",
    ]
    for name in (clusterer, other):
        parts += [f"<h3>Clusterer: {escape(name)}</h3>", _html(main_table(tables["summary"], name, metrics))]
    parts += [
        "<h2>Gain over correction alone, and over means over neighbours</h2>",
        "<p>Of each donor the mean of its sections' own ARI; p from flipping signs, at least 2<sup>1 - n</sup> with n "
        "donors, none with one. The paper's gains are of LIBD's three donors.</p>",
    ]
    for name in (clusterer, other):
        parts += [f"<h3>Clusterer: {escape(name)}</h3>", _html(gains_table(tables["differences"], name))]
    for name, picture in sorted(pictures.items(), key=lambda item: _figure_order(item[0])):
        encoded = base64.b64encode(picture).decode()
        title = escape(titles[name])
        parts += [f"<h2>{title}</h2>", f'<img alt="{title}" src="data:image/png;base64,{encoded}">']
    parts += ["<h2>Not drawn</h2>", _list([f"{name}: {reason}" for name, reason in missing.items()])] if missing else []
    parts += ["<h2>Chosen settings</h2>", _html(tables["chosen"]), "<h2>Folds</h2>", _html(tables["splits"])]
    parts += ["<h2>Settings</h2>", _list([f"{name} = {value}" for name, value in settings.items()])]
    parts += ["<h2>Versions</h2>", _list([f"{name} {version}" for name, version in packages.items()])]
    head = f"<head><meta charset='utf-8'><title>Benchmark</title><style>{_STYLE}</style></head>"
    return f"<!doctype html><html>{head}<body>{''.join(parts)}</body></html>\n"


def _figure_order(name: str) -> tuple[int, str]:
    number = name.split("_")[1] if "_" in name else ""
    return (int(number) if number.isdigit() else 99, name)


def _html(table: pd.DataFrame) -> str:
    return str(table.to_html(index=False, border=0, float_format=lambda value: f"{value:.3f}", na_rep="-"))


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""

"""What each asset of a study cost, from the manifests of the artifacts in force and the history, and pictures of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.runs import open_instance
from stalign_assets.study import Study
from stalign_core.store.store import UNPARTITIONED

GIGABYTE = 1 << 30
MEGABYTE = 1_000_000
"""As Dagster's metadata tell memory."""
COSTS = ("seconds", "cpu_seconds", "peak_memory_mb", "memory_at_start_mb")
RESULTS = ("metrics_tables", "cohort_report")
"""Assets that are written beside the store, and whose cost the history alone tells."""
JOINT_STEPS = (
    "morphology_harmony",
    "corrected_features",
    "aestetik_model",
    "spot_embeddings",
    "domains",
    "metrics",
    "domain_correspondence",
    "domain_profiles",
    "domain_markers",
    "domain_abundance",
    "metrics_tables",
    "cohort_report",
)
"""Steps that look at all spots together, whatever is frozen, and those that follow from the domains, which change with
every donor that comes: what a domain expresses is summed anew over all donors, and every page tells of the cohort."""


@dataclass(frozen=True)
class AssetCost:
    """Cost of one asset in a cohort of `n_donors`; of an asset with a partition per donor, the sum over donors.

    Attributes
    ----------
    seconds, cpu_seconds
        Wall and processor time.
    peak_gb, own_gb
        Largest resident memory of its process, libraries included, and how far that is above the start.
    """

    n_donors: int
    n_spots: int
    asset: str
    seconds: float
    cpu_seconds: float
    peak_gb: float
    own_gb: float

    @property
    def is_joint(self) -> bool:
        """Whether it is a joint step of the cohort."""
        return any(step in self.asset.split("/") for step in JOINT_STEPS)


def costs_of(study: Study, runs: Sequence[str] = ()) -> list[AssetCost]:
    """Costs of all assets in force that were computed by `runs`, or ever where none are named."""
    donors = study.cohort.donors
    manifests = defaultdict(list)
    for asset, recipe in recipes_of(study.settings).items():
        for partition in donors if recipe.partitioning == "donor" else (UNPARTITIONED,):
            found = study.store.current(asset, partition)
            if found is not None and (not runs or found.manifest.run_id in runs):
                manifests[asset].append(found.manifest)
    n_spots = sum(study.store.current("raw_samples", donor).manifest.summary["n_spots"] for donor in donors)
    of_store = [
        AssetCost(
            n_donors=len(donors),
            n_spots=n_spots,
            asset=asset,
            seconds=sum(manifest.seconds for manifest in found),
            cpu_seconds=sum(manifest.cpu_seconds for manifest in found),
            peak_gb=max(manifest.peak_memory_bytes for manifest in found) / GIGABYTE,
            own_gb=max(each.peak_memory_bytes - each.memory_at_start_bytes for each in found) / GIGABYTE,
        )
        for asset, found in manifests.items()
    ]
    return [*of_store, *_costs_of_results(study, len(donors), n_spots, runs)]


def _costs_of_results(study: Study, n_donors: int, n_spots: int, runs: Sequence[str]) -> Iterator[AssetCost]:
    with open_instance(study) as instance:
        for asset in RESULTS:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            if event is None or (runs and event.run_id not in runs):
                continue
            told = {name: float(event.asset_materialization.metadata[name].value) for name in COSTS}
            yield AssetCost(
                n_donors=n_donors,
                n_spots=n_spots,
                asset=asset,
                seconds=told["seconds"],
                cpu_seconds=told["cpu_seconds"],
                peak_gb=told["peak_memory_mb"] * MEGABYTE / GIGABYTE,
                own_gb=(told["peak_memory_mb"] - told["memory_at_start_mb"]) * MEGABYTE / GIGABYTE,
            )


def table_of(costs: Iterable[AssetCost]) -> str:
    """Markdown: per asset and size CPU seconds, CPU microseconds per spot, and peak memory."""
    by_asset: dict[str, dict[int, AssetCost]] = defaultdict(dict)
    for cost in costs:
        by_asset[cost.asset][cost.n_spots] = cost
    sizes = sorted({size for found in by_asset.values() for size in found})
    head = ["asset", *(f"{size:,}" for size in sizes), "per spot", *(f"GB at {size:,}" for size in sizes)]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for asset, found in by_asset.items():
        ratio = _growth(found, sizes)
        cells = [f"`{asset}`", *(_cell(found, size, "cpu_seconds", ".1f") for size in sizes), ratio]
        lines.append(" | ".join([*cells, *(_cell(found, size, "peak_gb", ".2f") for size in sizes)]))
    return "\n".join(f"| {line} |" for line in lines)


def _cell(found: Mapping[int, AssetCost], size: int, name: str, form: str) -> str:
    return format(getattr(found[size], name), form) if size in found else ""


def _growth(found: Mapping[int, AssetCost], sizes: Sequence[int]) -> str:
    """CPU seconds per spot at the largest size, as a multiple of the smallest's."""
    if len(sizes) < 2 or sizes[0] not in found or sizes[-1] not in found:
        return ""
    first, last = found[sizes[0]], found[sizes[-1]]
    return f"{(last.cpu_seconds / last.n_spots) / max(first.cpu_seconds / first.n_spots, 1e-9):.2f}"


def draw(costs: Sequence[AssetCost], path: Path) -> None:
    """Seconds of processor and peak memory per asset against spots, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    assets = list(dict.fromkeys(cost.asset for cost in costs))
    colors = pyplot.get_cmap("tab20")
    for place, asset in enumerate(assets):
        found = sorted((cost for cost in costs if cost.asset == asset), key=lambda cost: cost.n_spots)
        spots = [cost.n_spots for cost in found]
        style = {"color": colors(place % 20), "marker": "os^D"[place // 20], "markersize": 3.5, "linewidth": 1.2}
        left.plot(spots, [max(cost.cpu_seconds, 0.01) for cost in found], label=asset, **style)
        right.plot(spots, [cost.peak_gb for cost in found], **style)
    right.axhline(8, color="black", linestyle=":", linewidth=1)
    for axes, what in ((left, "CPU seconds"), (right, "peak memory of the process, GB")):
        axes.set(xscale="log", yscale="log", xlabel="spots", ylabel=what)
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=7, frameon=False)
    figure.savefig(path, dpi=90)

"""What Harmony costs per spot as a cohort grows, over seeds: how many rounds it goes depends on them.

usage: harmony_seeds.py FOLDER [--donors 10 50 200] [--seeds 5]

FOLDER is one that scale.py has filled. Harmony corrects the components of its images' features, of the first 10, 50 ...
donors in turn, each time in a process of its own. Printed are rounds, CPU seconds and peak memory, and the cost per
spot, and per spot and round, of the largest cohort over that of the smallest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

COMPONENTS = "cohort/morphology_pca/texture"
GIBIBYTE = 1 << 30


def main() -> None:
    """Correct each cohort with each seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--donors", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_correct(chosen.folder / "study", *chosen.one)))
        return
    found = {
        n_donors: [_in_child(chosen.folder, n_donors, seed) for seed in range(chosen.seeds)]
        for n_donors in chosen.donors
    }
    _report(found)


def _in_child(folder: Path, n_donors: int, seed: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--one", str(n_donors), str(seed)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    told: dict[str, float] = json.loads(printed.splitlines()[-1])
    return told


def _correct(study: Path, n_donors: int, seed: int) -> dict[str, Any]:
    """Rounds, spots, CPU seconds and peak memory of one correction."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from stalign_assets.measure import high_water_mark
    from stalign_assets.study import open_study
    from stalign_core.correction.harmony import correct
    from stalign_core.store.store import UNPARTITIONED

    opened = open_study(study)
    components = opened.store.current(COMPONENTS, UNPARTITIONED)
    if components is None:
        raise SystemExit(f"{study} has no {COMPONENTS}: run scale.py first")
    if len(opened.cohort.donors) < n_donors:
        raise SystemExit(f"{study} has {len(opened.cohort.donors)} donors, not {n_donors}: run scale.py first")
    features, samples = [], []
    for donor in opened.cohort.donors[:n_donors]:
        for name, values in components.arrays(f"{donor}.safetensors").items():
            if name.startswith("features/"):
                features.append(values)
                samples.append(np.full(len(values), name))
    spots, batches = np.concatenate(features), np.concatenate(samples)
    features.clear()
    with threadpool_limits(1):
        began = time.process_time()
        result = correct(spots, batches, opened.settings.correction, seed)
        spent = time.process_time() - began
    return {
        "n_spots": len(spots),
        "rounds": result.facts["n_iterations"],
        "cpu_seconds": spent,
        "peak_gib": high_water_mark() / GIBIBYTE,
    }


def _report(found: dict[int, list[dict[str, Any]]]) -> None:
    print("| donors | spots | rounds | CPU s | us per spot | us per spot and round | peak GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n_donors, runs in found.items():
        rounds = ", ".join(str(run["rounds"]) for run in runs)
        seconds = statistics.mean(run["cpu_seconds"] for run in runs)
        peak = max(run["peak_gib"] for run in runs)
        print(
            f"| {n_donors} | {runs[0]['n_spots']} | {rounds} | {seconds:.2f} | {1e6 * _per_spot(runs):.2f} "
            f"| {1e6 * _per_round(runs):.3f} | {peak:.2f} |"
        )
    first, last = found[min(found)], found[max(found)]
    print(
        f"{max(found)} donors over {min(found)}: {_per_spot(last) / _per_spot(first):.2f} per spot, "
        f"{_per_round(last) / _per_round(first):.2f} per spot and round"
    )


def _per_spot(runs: list[dict[str, Any]]) -> float:
    return statistics.mean(run["cpu_seconds"] / run["n_spots"] for run in runs)


def _per_round(runs: list[dict[str, Any]]) -> float:
    return statistics.mean(run["cpu_seconds"] / run["n_spots"] / run["rounds"] for run in runs)


if __name__ == "__main__":
    main()

"""What the AESTETIK model costs per spot, from ten thousand spots to a million.

usage: aestetik_scale.py [--spots 10000 30000 100000 300000 1000000] [--passes 5] [--window 5] [--device cpu]

Each size runs in a process of its own: synthetic sections of 5,000 spots, 20 + 20 channels, 7 domains. Printed are
microseconds per spot of one pass of training, of embedding and of clustering, the same divided by the smallest
size's, the fixed cost of naming the triplet groups (fitted on at most 20,000 spots), and peak memory of the process,
libraries included. A cost that follows the spots keeps its ratio at 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
from common.memory import wait_measured

MEGABYTES_PER_GIGABYTE = 1024
N_DOMAINS = 7


def measure(n_spots: int, passes: int, window: int, device: str) -> dict[str, float]:
    """Seconds of each step at one size, in this process."""
    from common.synthetic import synthetic_cohort
    from sklearn.metrics import adjusted_rand_score

    from stalign_core.aestetik import Aestetik, AestetikSettings
    from stalign_core.domains.clustering import cluster

    cohort = synthetic_cohort(n_spots, n_domains=N_DOMAINS)
    arguments = (cohort.expression, cohort.morphology, cohort.lattice, cohort.sample)
    model = Aestetik(AestetikSettings(window=window, epochs=passes, device=device))
    ends: list[float] = []
    start = time.perf_counter()
    model.fit(*arguments, n_domains=N_DOMAINS, progress=lambda *_: ends.append(time.perf_counter()))
    fitted = time.perf_counter()
    embedding = model.embed(*arguments)
    embedded = time.perf_counter()
    domains = cluster(embedding, N_DOMAINS, "kmeans", 0)
    clustered = time.perf_counter()
    one_pass = float(np.median(np.diff(ends)))
    return {
        "groups": fitted - start - passes * one_pass,
        "pass": one_pass,
        "embed": embedded - fitted,
        "cluster": clustered - embedded,
        "ari": adjusted_rand_score(cohort.domain, domains),
    }


def in_own_process(n_spots: int, chosen: argparse.Namespace) -> tuple[dict[str, float], float]:
    """What `measure` gives for one size, and that process's peak memory in gigabytes."""
    command = [sys.executable, __file__, "--only", str(n_spots), "--passes", str(chosen.passes)]
    command += ["--window", str(chosen.window), "--device", chosen.device]
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(command, stdout=printed, text=True)
        usage = wait_measured(child)
        if child.returncode:
            raise SystemExit(f"the run with {n_spots} spots ended with {child.returncode}")
        printed.seek(0)
        found: dict[str, float] = json.loads(printed.read().splitlines()[-1])
    return found, usage.peak_mb / MEGABYTES_PER_GIGABYTE


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, nargs="*", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--passes", type=int, default=5, help="at least 2: a pass is timed between two ends")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(measure(chosen.only, chosen.passes, chosen.window, chosen.device)))
        return
    print("    spots   us/spot: pass (ratio)   embed (ratio)  cluster (ratio)   groups s   peak GB    ARI")
    first: dict[str, float] = {}
    for n_spots in chosen.spots:
        seconds, gigabytes = in_own_process(n_spots, chosen)
        each = {step: seconds[step] / n_spots * 1e6 for step in ("pass", "embed", "cluster")}
        first = first or each
        costs = "   ".join(f"{each[step]:6.2f} ({each[step] / first[step]:4.2f})" for step in each)
        print(
            f"{n_spots:9,}        {costs}   {seconds['groups']:8.1f}   {gigabytes:7.2f}  {seconds['ari']:5.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

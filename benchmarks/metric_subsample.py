"""What measuring the embedding metrics of a large cohort on a subsample of its spots costs in accuracy.

usage: metric_subsample.py STUDY [--variant harmony] [--of 100000] [--spots 20000] [--seeds 5] [--no-whole]

STUDY was run at cohort scope. Silhouette (of its domains), iLISI and kBET are measured on `--of` of its spots, drawn
once, and on `--seeds` subsamples of `--spots` of those. Printed are the value on all, mean and standard deviation over
the subsamples, the largest difference, and seconds. With `--of` larger than can be measured whole, `--no-whole` leaves
out the value on all.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from stalign_assets.study import open_study
from stalign_core.metrics import measure
from stalign_core.settings import MetricSettings
from stalign_core.store.store import UNPARTITIONED

METRICS = ("silhouette", "ilisi", "kbet")


def main() -> None:
    """Measure, and print the table."""
    chosen = _arguments()
    embedding, spots = _read(chosen.study, chosen.variant)
    if len(spots) > chosen.of:
        kept = np.sort(np.random.default_rng(0).choice(len(spots), chosen.of, replace=False))
        embedding, spots = embedding[kept], spots.iloc[kept]
    parts = [_values(embedding, spots, chosen.spots, seed) for seed in range(chosen.seeds)]
    found = pd.DataFrame([values for values, _ in parts])
    table = pd.DataFrame({f"{chosen.spots} of {len(spots)} spots": found.mean(), "SD": found.std()})
    seconds = [f"{np.mean([each for _, each in parts]):.0f} s on a subsample"]
    if chosen.whole:
        whole, took = _values(embedding, spots, len(spots), 0)
        table["all"], table["largest difference"] = pd.Series(whole), (found - whole).abs().max()
        seconds.append(f"{took:.0f} s on all")
    print(table.round(4).to_string())
    print(", ".join(seconds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--variant", default="harmony")
    parser.add_argument("--of", type=int, default=100_000)
    parser.add_argument("--spots", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def _read(folder: Path, variant: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Embeddings of all spots, and their samples, donors and domains."""
    store = open_study(folder).store
    embeddings, domains = (
        store.current(f"cohort/{variant}/{step}", UNPARTITIONED) for step in ("spot_embeddings", "domains")
    )
    if embeddings is None or domains is None:
        raise SystemExit(f"{folder} has no domains of variant '{variant}' at cohort scope; stalign run {folder}")
    spots = domains.table("domains.parquet")
    rows = {}
    for donor in spots["donor"].unique():
        rows |= embeddings.arrays(f"{donor}.safetensors")
    return np.concatenate([rows[sample] for sample in spots["sample"].unique()]), spots


def _values(embedding: np.ndarray, spots: pd.DataFrame, n_spots: int, seed: int) -> tuple[dict[str, float], float]:
    began = time.perf_counter()
    table = measure(
        "aestetik",
        embedding,
        {},
        labels=spots["domain"].to_numpy(dtype=object),
        samples=spots["sample"],
        donors=spots["donor"],
        positions=np.zeros((len(spots), 2)),
        settings=MetricSettings(max_spots=n_spots),
        seed=seed,
    ).table
    values = table[table["sample"] == ""].set_index("metric")["value"]
    return {metric: float(values[metric]) for metric in METRICS}, time.perf_counter() - began


if __name__ == "__main__":
    main()

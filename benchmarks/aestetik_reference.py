"""The published AESTETIK program beside our presets, on the same features in one run.

usage: aestetik_reference.py FOLDER --peer-python PYTHON [--data dlpfc_br8100] [--sections 151673 ...] [--spots 800]
                             [--channels 5] [--weights 0 1.5] [--window 5] [--seeds 5]
                             [--epochs 100] [--passes 100] [--threads 1] [--whole-epochs 2]

FOLDER holds the data set's folder with its samples.csv, whose annotation column names expert labels. PYTHON is an
interpreter that has `aestetik` 0.3.1. Features (principal components of the whole data set, both corrected by Harmony)
are computed once; every program gets those of the central band of SPOTS spots of each section (0: all of it), of
morphology the first CHANNELS, and as its number of groups the labels there. Labels are read for this number and for
scores alone.

Programs, each in a process of its own with the same number of threads, once per seed 0, 1, ...:

- published: `aestetik` with K-Means groups, no refinement, EPOCHS epochs and PASSES passes to embed (not 1,000);
- reference: our preset of that name with EPOCHS epochs;
- default: our default preset.

Columns, as mean and standard deviation over seeds: ARI of either clusterer on the embedding, the same clusterer and
seed for all programs; seconds of fit and embedding; seconds an epoch; peak memory of the process. Below the rows of a
weight: reference less published, and published over reference. `--whole-epochs` then times that many epochs on all
spots of the data set and extrapolates to EPOCHS; 0 leaves this out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from common.child import Outcome, run_child
from common.crop import central_band
from sklearn.metrics import adjusted_rand_score

import stalign_core as st
from stalign_core import keys
from stalign_core.aestetik.reference.views import array_cells
from stalign_core.domains.clustering import cluster
from stalign_core.integration import Integration
from stalign_core.progress import silent
from stalign_core.settings import Settings

ENCODER = "texture"
NOT_SCORED = ("undetermined",)
"""Labels that say nothing of the tissue."""
CLUSTERERS = ("kmeans", "tied")
PROGRAMS = ("published", "reference", "default")
BATCH_SIZE = 8192
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Spots:
    """Features and labels, one row per spot."""

    expression: np.ndarray
    morphology: np.ndarray
    lattice: np.ndarray
    hexagonal: np.ndarray
    sample: np.ndarray
    label: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(n,) bool: the spots with a label that counts."""
        return (self.label != "") & ~np.isin(self.label, NOT_SCORED)

    @property
    def n_domains(self) -> int:
        """How many labels count."""
        return len(np.unique(self.label[self.scored]))

    def part(self, rows: np.ndarray) -> Spots:
        """Some of the spots."""
        return replace(self, **{name: values[rows] for name, values in vars(self).items()})

    def given(self) -> dict[str, np.ndarray]:
        """What the programs read: no labels, but their number."""
        features = {name: values for name, values in vars(self).items() if name != "label"}
        return {**features, "array": array_cells(self.lattice, self.hexagonal), "n_domains": np.array(self.n_domains)}


def read(folder: Path) -> tuple[Spots, dict[str, np.ndarray], np.ndarray]:
    """Spots of a whole data set, the rows of each section, and positions (n, 2)."""
    adata = st.read_cohort(folder / "samples.csv")
    settings = Settings()
    run = Integration(adata, settings, 0, silent)
    run.reduce_expression("harmony")
    run.embed_morphology(ENCODER, settings.encoders[ENCODER])
    run.correct("harmony")
    hexagonal = np.zeros(adata.n_obs, dtype=bool)
    sample = np.zeros(adata.n_obs, dtype=np.int64)
    for code, (name, rows) in enumerate(run.samples.items()):
        hexagonal[rows] = run.facts[name].lattice == "hexagonal"
        sample[rows] = code
    labels = adata.obs[keys.LABEL].astype(object)
    spots = Spots(
        adata.obsm[keys.X_HARMONY].astype(np.float32),
        adata.obsm[keys.X_MORPHOLOGY_HARMONY].astype(np.float32),
        run.cells[0],
        hexagonal,
        sample,
        labels.where(labels.notna(), "").to_numpy(dtype=str),
    )
    return spots, run.samples, run.cells[1]


def fit(program: str, given: Mapping[str, object], peer_python: str) -> Outcome:
    """Run one program once."""
    if program == "published":
        return run_child([peer_python, str(PEERS / "aestetik_published.py")], given)
    return run_child([sys.executable, str(PEERS / "aestetik_stalign.py")], {**given, "preset": program})


def agreement(spots: Spots, embedding: np.ndarray, clusterer: str, seed: int) -> float:
    """ARI of the labels with clusters of the embedding."""
    domains = cluster(embedding, spots.n_domains, clusterer, seed)
    return float(adjusted_rand_score(spots.label[spots.scored], domains[spots.scored]))


def measure(spots: Spots, program: str, chosen: argparse.Namespace, weight: float) -> dict[str, np.ndarray]:
    """Every column of one row, one number per seed."""
    columns: dict[str, list[float]] = {}
    for seed in range(chosen.seeds):
        outcome = fit(program, arguments(spots, chosen, weight, seed), chosen.peer_python)
        found = {clusterer: agreement(spots, outcome.arrays["embedding"], clusterer, seed) for clusterer in CLUSTERERS}
        found["seconds"] = float(outcome.arrays["seconds"])
        found["epoch"] = float(np.mean(outcome.arrays["epoch_seconds"]))
        found["peak_mb"] = outcome.peak_mb
        print(f"{program} {weight} seed {seed}: {found}", file=sys.stderr, flush=True)
        for name, value in found.items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


def arguments(spots: Spots, chosen: argparse.Namespace, weight: float, seed: int) -> dict[str, object]:
    """What a program is given."""
    return {
        **spots.given(),
        "window": chosen.window,
        "morphology_weight": weight,
        "epochs": chosen.epochs,
        "passes": chosen.passes,
        "batch_size": BATCH_SIZE,
        "threads": chosen.threads,
        "seed": seed,
    }


def line(program: str, weight: float, columns: Mapping[str, np.ndarray]) -> str:
    """One row of the table."""
    scores = "  ".join(f"{name} {columns[name].mean():.3f} ± {columns[name].std():.3f}" for name in CLUSTERERS)
    seconds = columns["seconds"]
    return (
        f"{program:10} weight {weight:3}  {scores}  {seconds.mean():6.1f} ± {seconds.std():4.1f} s"
        f"  {columns['epoch'].mean():6.3f} s an epoch  {columns['peak_mb'].mean():5.0f} MB"
    )


def comparison(weight: float, published: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> str:
    """The reference preset against the published program."""
    gaps = "  ".join(f"{name} {reference[name].mean() - published[name].mean():+.3f}" for name in CLUSTERERS)
    ratio = {name: published[name].mean() / reference[name].mean() for name in ("seconds", "epoch", "peak_mb")}
    return (
        f"{'':10} weight {weight:3}  reference less published: {gaps}; published over reference:"
        f" {ratio['seconds']:.1f} in seconds, {ratio['epoch']:.1f} an epoch, {ratio['peak_mb']:.1f} in memory"
    )


def time_whole(spots: Spots, chosen: argparse.Namespace) -> None:
    """Seconds an epoch on all spots, and what a whole training would take."""
    short = argparse.Namespace(**{**vars(chosen), "epochs": chosen.whole_epochs + 1, "passes": 1})
    means = {}
    for program in PROGRAMS[:2]:
        outcome = fit(program, arguments(spots, short, 1.5, 0), chosen.peer_python)
        # The first epoch of either warms up, and is not told by ours.
        means[program] = float(outcome.arrays["epoch_seconds"][-chosen.whole_epochs :].mean())
        print(
            f"{program:10} {len(spots.sample)} spots: {means[program]:.2f} s an epoch over {chosen.whole_epochs}, so"
            f" {means[program] * chosen.epochs:.0f} s for {chosen.epochs} (extrapolated); {outcome.peak_mb:.0f} MB",
            flush=True,
        )
    print(f"published over reference: {means['published'] / means['reference']:.1f} an epoch", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--data", default="dlpfc_br8100")
    parser.add_argument("--sections", nargs="*", default=["151673"])
    parser.add_argument("--spots", type=int, default=800)
    parser.add_argument("--channels", type=int, default=5)
    parser.add_argument("--weights", type=float, nargs="*", default=[0.0, 1.5])
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--whole-epochs", type=int, default=2)
    chosen = parser.parse_args()
    whole, sections, positions = read(chosen.folder / chosen.data)
    rows = np.concatenate(
        [sections[name][central_band(positions[sections[name]], chosen.spots)] for name in chosen.sections]
    )
    spots = whole.part(rows)
    spots = replace(spots, morphology=spots.morphology[:, : chosen.channels])
    counts = zip(*np.unique(spots.label, return_counts=True), strict=True)
    print(f"{len(rows)} spots of {', '.join(chosen.sections)}: {', '.join(f'{n} {name}' for name, n in counts)}")
    for weight in chosen.weights:
        found = {}
        for program in PROGRAMS:
            found[program] = measure(spots, program, chosen, weight)
            print(line(program, weight, found[program]), flush=True)
        print(comparison(weight, found["published"], found["reference"]), flush=True)
    if chosen.whole_epochs:
        time_whole(whole, chosen)


if __name__ == "__main__":
    main()

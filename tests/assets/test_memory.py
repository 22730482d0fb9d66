"""What assets hold at a time: counts of one donor, and nothing that grows with the square of the spots."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.measure import Measure
from stalign_assets.new_study import create_study
from stalign_core.correction import correct_embedding
from stalign_core.domains import assign_domains
from stalign_core.metrics import measure
from stalign_core.settings import CorrectionSettings, MetricSettings, parse_settings
from stalign_core.store import Artifact
from tests.studies import TINY_SETTINGS, two_donor_sheet

SPOTS_PER_SAMPLE = 500


def test_no_asset_holds_counts_of_two_sections_at_a_time(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "correction": {"scvi": {"max_epochs": 1}},
        "variants": {"harmony": {"correction": "harmony"}, "scvi": {"correction": "scvi"}},
    }
    create_study(tmp_path / "study", two_donor_sheet(tiny_data), parse_settings({**TINY_SETTINGS, **changes}))
    read = Artifact.anndata
    alive: list[weakref.ref[Any]] = []
    reads: list[int] = []

    def watched(artifact: Artifact, name: str) -> Any:
        gc.collect()
        reads.append(sum(reference() is not None for reference in alive))
        counts = read(artifact, name)
        alive[:] = [reference for reference in alive if reference() is not None]
        alive.extend([weakref.ref(counts), weakref.ref(counts.X)])
        return counts

    monkeypatch.setattr(Artifact, "anndata", watched)
    report = bring_up_to_date(Request(tmp_path / "study", scopes=("cohort",)))
    assert report.success, report.lines()
    assert len(reads) >= 2 * 4
    assert max(reads) == 0


def spots_of(n_samples: int) -> dict[str, Any]:
    """Arrays of that many samples, each a strip of 20 x 25 cells with an own shift."""
    rng = np.random.default_rng(0)
    n_spots = n_samples * SPOTS_PER_SAMPLE
    sample = np.arange(n_spots) // SPOTS_PER_SAMPLE
    domain = rng.integers(5, size=n_spots)
    embedding = (
        rng.normal(0, 4, (5, 16))[domain] + rng.normal(size=(n_spots, 16)) + rng.normal(size=(n_samples, 16))[sample]
    )
    cell = np.arange(n_spots) % SPOTS_PER_SAMPLE
    return {
        "embedding": embedding.astype(np.float32),
        "sample": np.array([f"S{number:04d}" for number in range(n_samples)], dtype=object)[sample],
        "domain": domain.astype(str).astype(object),
        "positions": np.column_stack(np.divmod(cell, 25)).astype(float),
        "names": np.array([f"S{number:07d}" for number in range(n_spots)], dtype=object),
    }


def _harmony(spots: dict[str, Any]) -> None:
    correct_embedding("harmony", spots["embedding"], spots["sample"], CorrectionSettings(), 0)


def _domains(spots: dict[str, Any]) -> None:
    for clusterer in ("kmeans", "tied"):
        assign_domains(spots["embedding"], 5, clusterer, 0, spot_names=spots["names"])


def _metrics(spots: dict[str, Any]) -> None:
    measure(
        "aestetik",
        spots["embedding"],
        {"tied": spots["domain"]},
        labels=spots["domain"],
        samples=spots["sample"],
        donors=spots["sample"],
        positions=spots["positions"],
        settings=MetricSettings(n_neighbors=15, max_spots=2000),
    )


@pytest.mark.parametrize("step", [_harmony, _domains, _metrics], ids=lambda step: step.__name__.strip("_"))
def test_memory_of_a_joint_step_grows_with_the_spots_and_no_faster(step: Callable[[dict[str, Any]], None]) -> None:
    step(spots_of(8))  # Libraries and compiled functions are not the step's.
    peaks = []
    for n_samples in (32, 128):
        spots = spots_of(n_samples)
        tracemalloc.start()
        try:
            step(spots)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 4 * 1.1 * peaks[0]


def test_harmony_takes_four_kilobytes_a_spot_at_most_however_many_batches_there_are() -> None:
    """At a hundred clusters: memberships in the library in single precision, here in double."""
    spots = spots_of(8)
    _harmony(spots)
    spots = spots_of(200)
    with Measure() as measured:
        _harmony(spots)
    assert measured.peak_memory_bytes - measured.memory_at_start_bytes < 4096 * len(spots["embedding"])

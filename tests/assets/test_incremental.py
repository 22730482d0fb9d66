"""What a new donor costs: which assets are computed, whose counts are read, and what freezing the bases saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.reporting import Silent, StepEnd
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.readers import read_sample, source_files
from stalign_core.settings import parse_settings
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED
from tests.assets.test_reuse import append_sample, changed, created_at
from tests.file_accesses import FileAccesses
from tests.studies import run

pytestmark = pytest.mark.slow

PER_DONOR = ("raw_samples", "gene_statistics", "spot_grids", "morphology_embeddings/texture")
PROFILES = 2.0
"""How often a donor's counts are read after the joint steps: for the profiles of each variant's new domains."""
FROZEN = ("gene_panel", "expression_basis", "correction_basis", "morphology_basis/texture")


@pytest.fixture
def counts_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes of stored counts read since, by donor."""
    read: Counter[str] = Counter()
    original = Artifact.anndata

    def counting(self: Artifact, name: str):
        if name.endswith(".counts.h5ad"):
            read[self.manifest.partition] += self.manifest.files[name].size
        return original(self, name)

    monkeypatch.setattr(Artifact, "anndata", counting)
    return read


class ReadsPerStep(Silent):
    """A console that asks the kernel, whenever a step ends, which files were read since the last one ended."""

    def __init__(self, accesses: FileAccesses) -> None:
        self.accesses = accesses
        self.read: list[tuple[str, set[Path]]] = []

    def step_done(self, end: StepEnd) -> None:
        self.read.append((end.asset, self.accesses.take()))

    def until(self, asset: str) -> set[Path]:
        """Files that were read before the end of an asset."""
        ends = [name for name, _ in self.read].index(asset)
        return set().union(*(files for _, files in self.read[: ends + 1]))


def measurements_of(study: Path, donors: Iterable[str]) -> set[Path]:
    """Raw files of donors but for pictures, which reports show, and what scales those."""
    samples = [sample for sample in open_study(study).cohort.samples if sample.donor in set(donors)]
    found = {path for sample in samples for path in source_files(sample)}
    return {path for path in found if path.suffix in {".h5", ".h5ad", ".gz", ".csv", ".parquet"}}


def counts_of(study: Path, donors: Iterable[str]) -> set[Path]:
    """Files of donors' stored counts."""
    found = [open_study(study).store.current("raw_samples", donor) for donor in donors]
    return {Path(raw.location(name).path) for raw in found if raw for name in raw.names("*.counts.h5ad")}


@pytest.fixture
def samples_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Samples whose raw files were read since."""
    read: list[str] = []

    def counting(sample, *arguments, **words):
        read.append(sample.sample)
        return read_sample(sample, *arguments, **words)

    monkeypatch.setattr("stalign_core.readers.read_sample", counting)
    return read


def stored_counts(study: Path, donor: str) -> int:
    """Bytes of a donor's stored counts."""
    raw = open_study(study).store.current("raw_samples", donor)
    assert raw is not None
    return sum(raw.manifest.files[name].size for name in raw.names("*.counts.h5ad"))


def times_read(counts_read: Counter[str], study: Path, donors: Iterable[str]) -> dict[str, float]:
    """How often each donor's stored counts were read whole."""
    return {donor: counts_read[donor] / stored_counts(study, donor) for donor in donors}


def test_unfrozen_a_new_donor_streams_the_others_stored_counts_and_none_of_their_raw_files(
    study: Path, tiny_data: Path, counts_read: Counter[str], samples_read: list[str]
) -> None:
    old = open_study(study).cohort.donors
    before = created_at(study)
    newcomer = append_sample(study, tiny_data, position=2)
    assert_runs(study)
    assert samples_read == [newcomer["sample"]]
    touched = changed(before, study)
    assert {donor for asset, donor in touched if asset in PER_DONOR or asset.startswith("donor/")} == {
        newcomer["donor"]
    }
    # Moments and projections of two bases, and profiles of two variants' new domains: each streams every donor's
    # counts once.
    assert times_read(counts_read, study, old) == dict.fromkeys(old, 4.0 + PROFILES)


def test_frozen_a_new_donor_leaves_the_others_counts_unread_up_to_correction(
    study: Path, tiny_data: Path, counts_read: Counter[str]
) -> None:
    old = open_study(study).cohort.donors
    set_value(study / "study.toml", "incremental", "freeze_bases", True)
    assert_runs(study)
    before = created_at(study)
    counts_read.clear()
    raw, stored = measurements_of(study, old), counts_of(study, old)
    newcomer = append_sample(study, tiny_data, position=2)
    with FileAccesses(raw | stored) as accesses:
        console = ReadsPerStep(accesses)
        report = bring_up_to_date(Request.parse(study), console)
    assert report.success, report.lines()
    assert len(raw) >= 3 * len(old) and len(stored) == len(old)
    assert set().union(*(files for _, files in console.read)) == stored
    for variant in ("uncorrected", "harmony"):
        assert stored.isdisjoint(console.until(f"cohort/{variant}/corrected_features"))
    assert times_read(counts_read, study, old) == dict.fromkeys(old, PROFILES)
    assert times_read(counts_read, study, (newcomer["donor"],))[newcomer["donor"]] > PROFILES
    touched = {asset for asset, partition in changed(before, study) if partition == UNPARTITIONED}
    assert touched.isdisjoint(f"cohort/{name}" for name in FROZEN)
    assert {"cohort/expression_pca", "cohort/harmony/domains", "cohort/basis_drift"} <= touched

    store = open_study(study).store
    components = store.current("cohort/expression_pca", UNPARTITIONED)
    drift = store.current("cohort/basis_drift", UNPARTITIONED)
    assert components is not None
    assert drift is not None
    assert components.manifest.summary["parts_reused"] == len(old)
    facts = drift.json("drift.json")
    assert 0 < facts["panel_overlap"] <= 1
    assert set(facts["captured"]) == {newcomer["donor"]}
    assert 0.2 < facts["captured"][newcomer["donor"]][newcomer["sample"]]["cohort/expression_basis"] < 1.5
    assert run(study).n_computed == 0

    set_value(study / "study.toml", "incremental", "freeze_bases", False)
    assert_runs(study)
    assert len(_donors_of_basis(study)) == len(old) + 1


def test_a_changed_setting_refits_what_is_frozen(study: Path) -> None:
    set_value(study / "study.toml", "incremental", "freeze_bases", True)
    assert_runs(study)
    before = created_at(study)
    set_value(study / "study.toml", "expression", "n_top_genes", 120)
    assert_runs(study)
    touched = {asset for asset, _ in changed(before, study)}
    assert {"cohort/gene_panel", "cohort/expression_basis", "cohort/correction_basis"} <= touched
    assert "cohort/morphology_basis/texture" not in touched


def test_a_damaged_frozen_basis_is_fitted_anew(study: Path, tiny_data: Path) -> None:
    set_value(study / "study.toml", "incremental", "freeze_bases", True)
    append_sample(study, tiny_data, position=2)
    assert_runs(study)
    basis = open_study(study).store.current("cohort/expression_basis", UNPARTITIONED)
    assert basis is not None
    victim = Path(basis.folder.path) / "basis.safetensors"
    victim.unlink()
    victim.write_bytes(b"damaged")
    assert_runs(study)
    assert len(_donors_of_basis(study)) == 3


def assert_runs(study: Path) -> None:
    report = run(study)
    assert report.success, report.lines()


def _donors_of_basis(study: Path) -> tuple[str, ...]:
    basis = open_study(study).store.current("cohort/expression_basis", UNPARTITIONED)
    assert basis is not None
    basis.verify()
    return basis.manifest.donors


@pytest.mark.parametrize(
    ("methods", "scaling", "bases"),
    [
        (("harmony",), "auto", {"correction"}),
        (("uncorrected", "scanorama"), "auto", {"expression", "correction"}),
        (("uncorrected", "scvi"), "sample", {"expression"}),
        (("harmony",), "cohort", {"expression"}),
        (("scvi",), "auto", set()),
    ],
)
def test_drift_is_measured_of_the_bases_that_a_variant_starts_from(
    methods: tuple[str, ...], scaling: str, bases: set[str]
) -> None:
    settings = parse_settings(
        {
            "variants": {method: {"correction": method} for method in methods},
            "expression": {"scaling": scaling},
            "incremental": {"freeze_bases": True},
        }
    )
    recipes = recipes_of(settings)
    read = {declared.asset for declared in recipes["cohort/basis_drift"].inputs}
    assert {asset for asset in read if asset.endswith("_basis")} == {f"cohort/{basis}_basis" for basis in bases}
    for method in methods:
        run = assets_of_scope(recipes, "cohort", (method,))
        assert read - set(run) == {"gene_statistics", "raw_samples"}

"""How far frozen panel and bases are from the cohort as it is now: there only while they are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import Input, Recipe, Task, no_settings
from stalign_assets.recipes.samples import RAW, STATISTICS
from stalign_assets.rows import samples_of

if TYPE_CHECKING:
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact

BASIS_DRIFT: Final = "cohort/basis_drift"
_PANEL: Final = "cohort/gene_panel"
_VERSION: Final = 1


def drift_recipe(settings: Settings) -> Recipe:
    """The recipe of `cohort/basis_drift`."""
    bases = tuple(f"cohort/{kind}_basis" for kind in _kinds_in_use(settings))
    return Recipe(
        asset=BASIS_DRIFT,
        group="cohort_features",
        description="What the frozen panel and bases miss of samples that came after them.",
        partitioning="none",
        code_version=_VERSION,
        inputs=(Input(STATISTICS), Input(_PANEL), *(Input(basis) for basis in bases), Input(RAW, ("*.counts.h5ad",))),
        settings=no_settings,
        compute=lambda task: _measure_drift(task, bases),
        kinds=("json",),
    )


def _kinds_in_use(settings: Settings) -> list[str]:
    """Bases that some variant starts from: the others are never made."""
    methods = [variant.correction for variant in settings.variants.values() if variant.representation == "pca"]
    corrected = any(method not in ("uncorrected", "scvi") for method in methods)
    if settings.expression.scaling == "cohort":
        return ["expression"] if corrected or "uncorrected" in methods else []
    return ["expression"] * ("uncorrected" in methods) + ["correction"] * corrected


def _measure_drift(task: Task, bases: tuple[str, ...]) -> None:
    overlap = _panel_overlap(task)
    fitted = set(task.one(_PANEL).manifest.donors)
    later = [donor for donor in task.donors if donor not in fitted]
    found = {donor: _captured_by_donor(task, bases, donor) for donor in later}
    relative = [share for samples in found.values() for shares in samples.values() for share in shares.values()]
    task.builder.write_json("drift.json", {"panel_overlap": overlap, "captured": found})
    lowest = min(relative, default=1.0)
    task.say(
        f"panel and bases are frozen: {len(later)} donors came after them; {overlap:.0%} of the panel would be chosen "
        f"again; the bases keep at least {lowest:.0%} as much of a later sample's variance as of the fitted ones'"
    )
    task.builder.summary.update(
        n_donors_later=len(later), panel_overlap=round(overlap, 4), captured_at_least=round(lowest, 4)
    )


def _panel_overlap(task: Task) -> float:
    """Share of the frozen panel's genes that would be chosen again."""
    from stalign_core.expression.gene_statistics import GeneHistogram
    from stalign_core.expression.panel import select_panel

    histograms = {
        sample.removesuffix(".parquet"): GeneHistogram.from_frame(statistics.table(sample))
        for _, statistics in task.each_donor(STATISTICS)
        for sample in statistics.names("*.parquet")
    }
    frozen = task.one(_PANEL)
    chosen = select_panel(histograms, **frozen.manifest.settings).genes
    genes = frozen.table("panel.parquet")["gene"]
    return float(genes.isin(list(chosen)).mean())


def _captured_by_donor(task: Task, bases: tuple[str, ...], donor: str) -> dict[str, dict[str, float]]:
    """Per sample and basis, the share of variance that is kept, relative to the fitted samples' share."""
    raw = task.of_donor(RAW, donor)
    stored = {basis: task.one(basis) for basis in bases}
    versions = {basis: artifact.manifest.data_version for basis, artifact in stored.items()}
    key = {"bases": versions, "counts": raw.used_hash(["*.counts.h5ad"]), "code": _VERSION}
    if not task.builder.reuse_part(donor, key):
        task.builder.write_json(f"{donor}.json", _captured(raw, stored), part=donor)
    kept: dict[str, dict[str, float]] = task.builder.read_json(f"{donor}.json")
    return kept


def _captured(raw: Artifact, stored: dict[str, Artifact]) -> dict[str, dict[str, float]]:
    from stalign_core.expression.basis import ExpressionBasis

    bases: dict[str, Any] = {
        name: ExpressionBasis.from_arrays(artifact.arrays("basis.safetensors"), artifact.json("basis.json"))
        for name, artifact in stored.items()
    }
    shares: dict[str, dict[str, float]] = {}
    for sample in samples_of(raw):
        counts = raw.anndata(f"{sample}.counts.h5ad")
        genes = counts.var_names.to_numpy(dtype=object)
        shares[sample] = {
            name: basis.captured_share_of(counts.X, genes, sample) / basis.captured_share
            for name, basis in bases.items()
        }
    return shares

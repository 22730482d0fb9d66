"""A reference for new samples, put together from what a study's store holds: nothing is fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stalign_assets.recipes.features import has_correction_basis
from stalign_assets.recipes.samples import MORPHOLOGY, RAW, STATISTICS
from stalign_assets.rows import samples_of
from stalign_core.errors import ArtifactError, SettingsError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.correction import CorrectionTerms
    from stalign_core.expression.basis import ExpressionBasis
    from stalign_core.mapping import Reference
    from stalign_core.mapping.familiarity import Familiarity, Section
    from stalign_core.settings import EncoderSettings, Scope
    from stalign_core.store import Artifact


def stored_reference(study: Study, variant: str, donor: str = "") -> Reference:
    """The reference of a variant's results in force; the study must be up to date.

    Parameters
    ----------
    study
        Opened.
    variant
        One of its variants.
    donor
        The donor of donor scope; empty for cohort scope.

    Raises
    ------
    SettingsError
        If the variant starts from an external embedding, which a new sample does not have.
    CorrectionError
        If its method cannot place new samples.
    ArtifactError
        If a result is missing or not whole.
    """
    from stalign_core.aestetik import Aestetik
    from stalign_core.correction import check_can_map
    from stalign_core.domains import DomainAssigner
    from stalign_core.expression.basis import ExpressionBasis
    from stalign_core.expression.dense_basis import DenseBasis
    from stalign_core.mapping import Reference

    chosen = study.settings.variants[variant]
    check_can_map(chosen.correction)
    if chosen.representation != "pca":
        raise SettingsError(
            f"variants.{variant}.representation",
            f"is '{chosen.representation}', an external embedding, so new samples cannot be placed",
            remedy="map onto a variant of representation 'pca'",
        )
    scope: Scope = "donor" if donor else "cohort"
    partition = donor or UNPARTITIONED
    donors = (donor,) if donor else study.cohort.donors

    def stored(asset: str) -> Artifact:
        return _stored(study, f"{scope}/{asset}", partition)

    own = chosen.correction not in ("uncorrected", "scvi") and has_correction_basis(study.settings, scope)
    basis = stored(f"{'correction' if own else 'expression'}_basis")
    morphology_basis = stored(f"morphology_basis/{chosen.encoder}")
    domains = stored(f"{variant}/domains")
    expression_basis = ExpressionBasis.from_arrays(basis.arrays("basis.safetensors"), basis.json("basis.json"))
    raw = {name: _stored(study, RAW, name) for name in donors}
    return Reference(
        method=chosen.correction,
        expression_basis=expression_basis,
        expression_terms=_terms(stored(f"{variant}/corrected_features")),
        encoder_name=chosen.encoder,
        encoder=_encoder(study, chosen.encoder),
        encoder_sha256=_weights_sha256(study, chosen.encoder, donors),
        morphology=study.settings.morphology,
        morphology_basis=DenseBasis.from_arrays(
            morphology_basis.arrays("basis.safetensors"), morphology_basis.json("basis.json")
        ),
        morphology_terms=_morphology_terms(stored, chosen.correction, chosen.encoder),
        model=Aestetik.load(stored(f"{variant}/aestetik_model").local_folder("model")),
        assigner=DomainAssigner.from_arrays(domains.arrays("assigner.safetensors"), domains.json("assigner.json")),
        familiarity=_familiarity(domains, raw, expression_basis),
        refine_neighbors=domains.manifest.settings["refine_neighbors"],
        mean_log_counts=_mean_log_counts(study, donors, expression_basis) if chosen.correction == "scvi" else None,
    )


def _stored(study: Study, asset: str, partition: str) -> Artifact:
    found = study.store.current(asset, partition)
    if found is None:
        raise ArtifactError(asset, "was not made", remedy="make it with 'stalign run STUDY'")
    return found


def _terms(artifact: Artifact) -> CorrectionTerms:
    from stalign_core.correction import CorrectionTerms

    model = "correction/model.safetensors"
    return CorrectionTerms(
        artifact.arrays(model) if artifact.names(model) else {}, artifact.json("correction/model.json")
    )


def _morphology_terms(stored: Callable[[str], Artifact], method: str, encoder: str) -> CorrectionTerms:
    from stalign_core.correction import CorrectionTerms

    return CorrectionTerms() if method == "uncorrected" else _terms(stored(f"morphology_harmony/{encoder}"))


def _encoder(study: Study, name: str) -> EncoderSettings:
    """The encoder's settings with the path of its weights made absolute."""
    encoder = study.settings.encoders[name]
    weights = str(study.folder / encoder.weights) if encoder.weights else None
    return encoder.model_copy(update={"weights": weights})


def _weights_sha256(study: Study, encoder: str, donors: Sequence[str]) -> str:
    """Of the weights that the samples were encoded with; empty where none was, or the encoder has none."""
    for donor in donors:
        facts = _stored(study, f"{MORPHOLOGY}/{encoder}", donor).manifest.summary["encoder"]
        for of_sample in facts.values():
            if of_sample.get("weights_sha256"):
                return str(of_sample["weights_sha256"])
    return ""


def _familiarity(domains: Artifact, raw: dict[str, Artifact], basis: ExpressionBasis) -> Familiarity:
    from stalign_core.mapping.familiarity import fit_familiarity

    table = domains.table("domains.parquet")
    of_sample = {str(name): rows.set_index("barcode")["domain"] for name, rows in table.groupby("sample")}

    def sections() -> Iterator[Section]:
        for artifact in raw.values():
            for sample in samples_of(artifact):
                counts = artifact.anndata(f"{sample}.counts.h5ad")
                domain = of_sample[sample].loc[counts.obs_names].to_numpy(dtype=object)
                yield counts.X, counts.var_names.to_numpy(dtype=object), domain

    return fit_familiarity(sections, basis.panel, basis.target_sum)


def _mean_log_counts(study: Study, donors: Sequence[str], basis: ExpressionBasis) -> NDArray[np.float64]:
    from stalign_core.correction.scvi_mapping import mean_log_counts
    from stalign_core.expression.gene_statistics import GeneHistogram

    statistics = [_stored(study, STATISTICS, donor) for donor in donors]
    histograms = (
        GeneHistogram.from_frame(artifact.table(name))
        for artifact in statistics
        for name in artifact.names("*.parquet")
    )
    return mean_log_counts(histograms, basis.panel)

"""A reference for new samples, put together from what a study's store holds: nothing is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from stalign_assets.origins import Origins
from stalign_assets.recipes.features import has_correction_basis
from stalign_assets.recipes.samples import GRIDS, MORPHOLOGY, RAW, STATISTICS
from stalign_assets.rows import samples_of
from stalign_core.errors import ArtifactError, SettingsError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from anndata import AnnData

    from stalign_assets.study import Study
    from stalign_core.correction import CorrectionTerms
    from stalign_core.expression.basis import ExpressionBasis
    from stalign_core.mapping import Reference
    from stalign_core.mapping.familiarity import Familiarity, Section
    from stalign_core.settings import EncoderSettings, Scope, VariantSettings
    from stalign_core.store import Artifact

_TERMS_ARRAYS: Final = "correction/model.safetensors"
_TERMS_FACTS: Final = "correction/model.json"


def stored_reference(study: Study, variant: str, donor: str = "") -> Reference:
    """The reference of a variant's domains in force, from what they were made from.

    Donors that came to the sheet since, or were left out, have no part in it.

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
    StudyError
        If settings or code changed since a result was made.
    ArtifactError
        If a result is missing or not whole.
    """
    from stalign_core.correction import check_can_map

    chosen = study.settings.variants[variant]
    check_can_map(chosen.correction)
    if chosen.representation != "pca":
        raise SettingsError(
            f"variants.{variant}.representation",
            f"is '{chosen.representation}', an external embedding, so new samples cannot be placed",
            remedy="map onto a variant of representation 'pca'",
        )
    with study.store.remembering():
        return _reference(study, variant, "donor" if donor else "cohort", donor or UNPARTITIONED)


def _reference(study: Study, variant: str, scope: Scope, partition: str) -> Reference:
    from stalign_core.aestetik import Aestetik
    from stalign_core.domains import DomainAssigner
    from stalign_core.mapping import Reference

    chosen = study.settings.variants[variant]
    domains = _in_force(study, f"{scope}/{variant}/domains", partition)
    origins = Origins(study, domains)
    embeddings = origins.made_from(domains, f"{scope}/{variant}/spot_embeddings")
    model = origins.made_from(embeddings, f"{scope}/{variant}/aestetik_model")
    origins.of_donors(model, GRIDS)
    corrected = origins.made_from(domains, f"{scope}/{variant}/corrected_features")
    basis, raw = _expression(study, origins, corrected, chosen.correction, scope)
    morphology = _Morphology(origins, corrected, chosen, scope)
    return Reference(
        method=chosen.correction,
        expression_basis=basis,
        expression_terms=_terms(corrected),
        encoder_name=chosen.encoder,
        encoder=_encoder(study, chosen.encoder),
        encoder_sha256=morphology.weights_sha256,
        morphology=study.settings.morphology,
        morphology_basis=morphology.basis,
        morphology_terms=morphology.terms,
        model=Aestetik.load(model.local_folder("model")),
        assigner=DomainAssigner.from_arrays(domains.arrays("assigner.safetensors"), domains.json("assigner.json")),
        familiarity=_familiarity(domains, raw, basis),
        refine_neighbors=domains.manifest.settings["refine_neighbors"],
        mean_log_counts=_mean_log_counts(raw, basis) if chosen.correction == "scvi" else None,
    )


def _in_force(study: Study, asset: str, partition: str) -> Artifact:
    found = study.store.current(asset, partition)
    if found is None:
        raise ArtifactError(asset, "was not made", remedy="make it with 'stalign run STUDY'")
    return found


def _expression(
    study: Study, origins: Origins, corrected: Artifact, method: str, scope: Scope
) -> tuple[ExpressionBasis, dict[str, Artifact]]:
    """The basis that expression was projected on, and each donor's counts; scVI needs the panel alone."""
    from stalign_core.expression.basis import ExpressionBasis, basis_of_panel

    if method == "scvi":
        _check_gene_panel(study, origins, corrected, scope)
        basis = basis_of_panel(corrected.json(_TERMS_FACTS)["genes"], study.settings.expression.target_sum)
        return basis, origins.of_donors(corrected, RAW)
    own = method != "uncorrected" and has_correction_basis(study.settings, scope)
    kind = "correction" if own else "expression"
    components = origins.made_from(corrected, f"{scope}/{kind}_pca")
    stored = origins.made_from(components, f"{scope}/{kind}_basis")
    _check_gene_panel(study, origins, stored, scope)
    basis = ExpressionBasis.from_arrays(stored.arrays("basis.safetensors"), stored.json("basis.json"))
    return basis, origins.of_donors(components, RAW)


def _check_gene_panel(study: Study, origins: Origins, reader: Artifact, scope: Scope) -> None:
    """Refuse a panel that a run would choose otherwise; a frozen one may be older than the statistics of now."""
    panel = origins.made_from(reader, f"{scope}/gene_panel")
    if scope == "cohort" and study.settings.incremental.freeze_bases:
        return
    # A panel that came out the same may have been chosen of other donors since.
    for donor in (each for each in origins.donors if each in panel.manifest.donors):
        origins.made_from(panel, STATISTICS, donor)


class _Morphology:
    """What the morphology of a variant went through."""

    def __init__(self, origins: Origins, corrected: Artifact, chosen: VariantSettings, scope: Scope) -> None:
        from stalign_core.correction import CorrectionTerms
        from stalign_core.expression.dense_basis import DenseBasis

        reader, self.terms = corrected, CorrectionTerms()
        if chosen.correction != "uncorrected":
            reader = origins.made_from(corrected, f"{scope}/morphology_harmony/{chosen.encoder}")
            self.terms = _terms(reader)
        components = origins.made_from(reader, f"{scope}/morphology_pca/{chosen.encoder}")
        basis = origins.made_from(components, f"{scope}/morphology_basis/{chosen.encoder}")
        self.basis = DenseBasis.from_arrays(basis.arrays("basis.safetensors"), basis.json("basis.json"))
        encoded = origins.of_donors(components, f"{MORPHOLOGY}/{chosen.encoder}")
        self.weights_sha256 = _weights_sha256(encoded.values())


def _terms(artifact: Artifact) -> CorrectionTerms:
    from stalign_core.correction import CorrectionTerms

    learnt = artifact.arrays(_TERMS_ARRAYS) if artifact.names(_TERMS_ARRAYS) else {}
    return CorrectionTerms(learnt, artifact.json(_TERMS_FACTS))


def _encoder(study: Study, name: str) -> EncoderSettings:
    """The encoder's settings with the path of its weights made absolute."""
    encoder = study.settings.encoders[name]
    weights = str(study.folder / encoder.weights) if encoder.weights else None
    return encoder.model_copy(update={"weights": weights})


def _weights_sha256(encoded: Iterable[Artifact]) -> str:
    """Of the weights that the samples were encoded with; empty where none was, or the encoder has none."""
    for artifact in encoded:
        for of_sample in artifact.manifest.summary["encoder"].values():
            if of_sample.get("weights_sha256"):
                return str(of_sample["weights_sha256"])
    return ""


def _familiarity(domains: Artifact, raw: Mapping[str, Artifact], basis: ExpressionBasis) -> Familiarity:
    from stalign_core.mapping.familiarity import fit_familiarity

    table = domains.table("domains.parquet")
    of_sample = {str(name): rows.set_index("barcode")["domain"] for name, rows in table.groupby("sample")}

    def sections() -> Iterator[Section]:
        for sample, counts in _counts(raw):
            domain = of_sample[sample].loc[counts.obs_names].to_numpy(dtype=object)
            yield counts.X, counts.var_names.to_numpy(dtype=object), domain

    return fit_familiarity(sections, basis.panel, basis.target_sum)


def _mean_log_counts(raw: Mapping[str, Artifact], basis: ExpressionBasis) -> NDArray[np.float64]:
    from stalign_core.correction.scvi_mapping import mean_log_counts

    sections = ((counts.X, counts.var_names.to_numpy(dtype=object)) for _, counts in _counts(raw))
    return mean_log_counts(sections, basis.panel)


def _counts(raw: Mapping[str, Artifact]) -> Iterator[tuple[str, AnnData]]:
    """Each sample and its counts, one at a time."""
    for artifact in raw.values():
        for sample in samples_of(artifact):
            yield sample, artifact.anndata(f"{sample}.counts.h5ad")

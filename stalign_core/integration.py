"""The whole recipe on one AnnData in memory: for notebooks, and for cohorts that fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.correction import CorrectionTerms, check_can_map
from stalign_core.correction.registry import METHODS
from stalign_core.errors import InputDataError, SettingsError
from stalign_core.progress import Progress, silent
from stalign_core.readers.facts import SampleFacts
from stalign_core.settings import CorrectionMethod, EncoderSettings, Settings

if TYPE_CHECKING:
    from anndata import AnnData

    from stalign_core.aestetik import Aestetik
    from stalign_core.domains import DomainAssigner
    from stalign_core.expression.basis import ExpressionBasis
    from stalign_core.expression.dense_basis import DenseBasis
    from stalign_core.mapping import Reference
    from stalign_core.mapping.familiarity import Familiarity

Features = NDArray[np.float32]


def integrate(
    adata: AnnData,
    n_domains: int,
    method: CorrectionMethod = "harmony",
    *,
    seed: int = 0,
    encoder: str = "texture",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Aestetik:
    """Align the samples of a cohort and name their domains, in place.

    The steps, and their results, are those of a study's cohort scope with the same settings and seed.

    Parameters
    ----------
    adata
        From `stalign_core.read_cohort`: raw counts in X, obs ``sample``, ``donor``, ``array_row``, ``array_col``,
        obsm ``spatial``, and the samples' facts in uns.
    n_domains
        K, how many domains to look for.
    method
        What corrects expression: ``"uncorrected"``, ``"harmony"``, ``"scanorama"`` or ``"scvi"``.
    seed
        Every random choice follows from it; global random states are not touched.
    encoder
        Name of the morphology encoder among ``settings.encoders``.
    settings
        Everything else; the defaults of a new study unless given.
    progress
        Told what is being done.

    Returns
    -------
    The fitted model. ``adata`` gains obsm ``X_pca``, ``X_morphology``, ``X_morphology_pca``, the corrected
    ``X_pca_harmony``, ``X_scanorama`` or ``X_scVI`` with ``X_morphology_pca_harmony``, and ``X_aestetik``; obs
    ``domain``, ``domain_unrefined`` and ``has_morphology``.

    Raises
    ------
    StalignError
        If the data, the method or a setting cannot stand; ``adata`` then keeps what was finished.
    """
    return _integrated(adata, n_domains, method, seed, encoder, settings, progress).model


def fit_reference(
    adata: AnnData,
    n_domains: int,
    method: CorrectionMethod = "harmony",
    *,
    seed: int = 0,
    encoder: str = "texture",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Reference:
    """As `integrate`, and keep what `stalign_core.map_samples` needs to place new samples.

    Parameters
    ----------
    adata, n_domains, method, seed, encoder, settings, progress
        As in `integrate`; Scanorama learns no mapping and is refused.

    Returns
    -------
    The reference, without the cohort's spots; `stalign_core.save_reference` writes it into a folder.

    Raises
    ------
    StalignError
        As in `integrate`, and if the method cannot place new samples.
    """
    check_can_map(method)
    return _integrated(adata, n_domains, method, seed, encoder, settings, progress).reference(method, encoder)


def _integrated(
    adata: AnnData,
    n_domains: int,
    method: CorrectionMethod,
    seed: int,
    encoder: str,
    settings: Settings | None,
    progress: Progress | None,
) -> Integration:
    if method not in METHODS:
        raise SettingsError("method", f"is '{method}'", expected="one of " + ", ".join(METHODS))
    chosen = settings or Settings()
    if encoder not in chosen.encoders:
        raise SettingsError("encoder", f"is '{encoder}'", expected="one of " + ", ".join(chosen.encoders))
    run = Integration(adata, chosen, seed, progress or silent)
    run.reduce_expression(method)
    run.embed_morphology(encoder, chosen.encoders[encoder])
    run.correct(method)
    run.train(method, n_domains)
    run.name_domains(n_domains)
    return run


@dataclass
class Integration:
    """The steps of `integrate`, to be called in their order; benchmarks repeat single ones.

    Attributes
    ----------
    adata, settings, seed, progress
        As in `integrate`.
    expression_terms, morphology_terms
        What `correct` learnt.
    expression_basis, morphology_basis, encoder_sha256
        From `reduce_expression` and `embed_morphology`.
    model, assigner
        From `train` and `name_domains`.
    """

    adata: AnnData
    settings: Settings
    seed: int
    progress: Progress
    expression_terms: CorrectionTerms = field(default_factory=CorrectionTerms)
    morphology_terms: CorrectionTerms = field(default_factory=CorrectionTerms)
    expression_basis: ExpressionBasis = field(init=False)
    morphology_basis: DenseBasis = field(init=False)
    encoder_sha256: str = field(init=False, default="")
    model: Aestetik = field(init=False)
    assigner: DomainAssigner = field(init=False)

    @cached_property
    def samples(self) -> dict[str, NDArray[np.intp]]:
        """Rows of each sample, by donor and then by name: the order in which a study stacks them."""
        names = self.adata.obs[keys.SAMPLE].to_numpy(dtype=object)
        donors = self.adata.obs[keys.DONOR].to_numpy(dtype=object)
        return {name: np.flatnonzero(names == name) for _, name in sorted(set(zip(donors, names, strict=True)))}

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """All rows in the order of `samples`: random choices then fall on the same spots as in a study."""
        return np.concatenate(list(self.samples.values()))

    @cached_property
    def facts(self) -> dict[str, SampleFacts]:
        try:
            found = self.adata.uns[keys.STALIGN]["samples"]
            return {name: SampleFacts.from_dict(found[name]) for name in self.samples}
        except KeyError as error:
            raise InputDataError(
                "adata.uns['stalign']",
                f"says nothing of {error}",
                expected="the facts that read_cohort keeps",
                remedy="read the samples with stalign_core.read_cohort",
            ) from None

    @cached_property
    def genes(self) -> NDArray[np.object_]:
        return np.asarray(self.adata.var_names, dtype=object)

    @cached_property
    def panel(self) -> NDArray[np.object_]:
        from stalign_core.expression.gene_statistics import gene_histogram
        from stalign_core.expression.panel import select_panel

        expression = self.settings.expression
        histograms = {
            name: gene_histogram(self.adata.X[rows], self.genes, where=f"sample {name}")
            for name, rows in self.samples.items()
        }
        return select_panel(histograms, expression.n_top_genes, expression.min_spots_per_gene).genes

    @cached_property
    def batches(self) -> NDArray[np.object_]:
        column = keys.SAMPLE if self.settings.correction.covariate == "sample" else keys.DONOR
        return np.asarray(self.adata.obs[column], dtype=object)

    @cached_property
    def cells(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Lattice cell and isotropic position of each spot."""
        from stalign_core.sections import spot_cells

        lattice = np.zeros((self.adata.n_obs, 2), dtype=np.int32)
        positions = np.zeros((self.adata.n_obs, 2))
        for name, rows in self.samples.items():
            spots, spatial = self.adata.obs.iloc[rows], self.adata.obsm[keys.SPATIAL][rows]
            lattice[rows], positions[rows] = spot_cells(spots, spatial, self.facts[name].lattice)
        return lattice, positions

    def reduce_expression(self, method: CorrectionMethod) -> None:
        """Principal components over the panel, standardised as the method wants it."""
        from stalign_core.expression.basis import ExpressionMoments, fit_expression_basis

        expression = self.settings.expression
        n_donors = self.adata.obs[keys.DONOR].nunique()
        scaling = "cohort" if method == "uncorrected" else expression.scaling_of(n_donors)
        seen = ExpressionMoments.empty(self.panel, expression.target_sum, scaling)
        for done, (name, rows) in enumerate(self.samples.items()):
            self.progress(f"expression of {name}", done, len(self.samples))
            seen.add_sample(name, self.adata.X[rows], self.genes)
        basis = fit_expression_basis(seen, expression.n_components)
        self.expression_basis = basis
        self._keep(keys.X_PCA, {name: basis.project(self.adata.X[rows], self.genes, name) for name, rows in self._rows})

    def embed_morphology(self, name: str, encoder: EncoderSettings) -> None:
        """Encode patches, and reduce their vectors to principal components."""
        from stalign_core.expression.dense_basis import DenseMoments, fit_dense_basis
        from stalign_core.morphology import embed_section, embed_with, load_encoder

        loaded = None
        features, observed = {}, {}
        for sample, rows in self.samples.items():
            section = self.adata[rows].copy()
            section.uns[keys.STALIGN] = self.facts[sample].to_dict()
            if self.facts[sample].image:
                loaded = loaded or load_encoder(name, encoder, self.settings.morphology.device)
                found = embed_with(loaded, section, self.settings.morphology, self.progress)
                self.encoder_sha256 = str(loaded.facts["weights_sha256"])
            else:
                found = embed_section(section, name, encoder, self.settings.morphology)
            features[sample], observed[sample] = found.features, found.observed
        seen = DenseMoments.empty(next(iter(features.values())).shape[1])
        for sample, vectors in features.items():
            seen.add_rows(vectors, observed[sample], where=sample)
        basis = fit_dense_basis(seen, self.settings.morphology.n_components)
        self.morphology_basis = basis
        self._keep(keys.X_MORPHOLOGY, features)
        self._keep(
            keys.X_MORPHOLOGY_PCA,
            {sample: basis.project(vectors, observed[sample], where=sample) for sample, vectors in features.items()},
        )
        has_morphology = np.zeros(self.adata.n_obs, dtype=bool)
        for sample, rows in self.samples.items():
            has_morphology[rows] = observed[sample]
        self.adata.obs[keys.HAS_MORPHOLOGY] = has_morphology

    def correct(self, method: CorrectionMethod) -> None:
        """Correct expression by `method`, and morphology by Harmony unless nothing is to be corrected."""
        from stalign_core.correction import correct_embedding, correct_where_present
        from stalign_core.correction.scvi import fit_scvi

        if method == "uncorrected":
            return
        self.progress(f"correction by {method}", 0, 1)
        correction = self.settings.correction
        if method == "scvi":
            columns = self.adata.var_names.get_indexer(self.panel)
            result = fit_scvi(
                self.adata.X[self.order][:, columns],
                self.batches[self.order],
                correction,
                n_latent=self.settings.expression.n_components,
                seed=self.seed,
                genes=self.panel.tolist(),
                progress=self.progress,
                device=correction.scvi.device,
            )
        else:
            features = self.adata.obsm[keys.X_PCA][self.order]
            result = correct_embedding(method, features, self.batches[self.order], correction, self.seed)
        self.expression_terms = result.terms
        self.adata.obsm[keys.expression_key(method)] = self._restored(result.features)
        morphology = correct_where_present(
            "harmony",
            self.adata.obsm[keys.X_MORPHOLOGY_PCA][self.order],
            self.adata.obs[keys.HAS_MORPHOLOGY].to_numpy()[self.order],
            self.batches[self.order],
            correction,
            self.seed,
        )
        self.morphology_terms = morphology.terms
        self.adata.obsm[keys.X_MORPHOLOGY_HARMONY] = self._restored(morphology.features)

    def train(self, method: CorrectionMethod, n_domains: int) -> None:
        """Train the model on the corrected features, and embed every spot."""
        from stalign_core.aestetik import Aestetik

        corrected = method != "uncorrected"
        kinds = {name: facts.lattice for name, facts in self.facts.items()}
        unordered: dict[str, Any] = {
            "expression": self.adata.obsm[keys.expression_key(method)],
            "morphology": self.adata.obsm[keys.X_MORPHOLOGY_HARMONY if corrected else keys.X_MORPHOLOGY_PCA],
            "lattice": self.cells[0],
            "sample": self._codes(),
            "has_morphology": self.adata.obs[keys.HAS_MORPHOLOGY].to_numpy(),
            "hexagonal": self.adata.obs[keys.SAMPLE].map(kinds).to_numpy() == "hexagonal",
        }
        inputs = {name: array[self.order] for name, array in unordered.items()}
        model = Aestetik(self.settings.aestetik, seed=self.seed)
        donors = self.adata.obs[keys.DONOR].to_numpy(dtype=str)[self.order]
        model.fit(**inputs, batch=donors, n_domains=n_domains, progress=self.progress)
        self.adata.obsm[keys.X_AESTETIK] = self._restored(model.embed(**inputs))
        self.model = model

    def name_domains(self, n_domains: int) -> None:
        """Cluster the embeddings, and refine the domains by the nearest spots."""
        import pandas as pd

        from stalign_core.domains import assign_domains

        domains = self.settings.domains
        found = assign_domains(
            self.adata.obsm[keys.X_AESTETIK][self.order],
            n_domains,
            domains.clusterer,
            self.seed,
            spot_names=self.adata.obs_names.to_numpy(dtype=object)[self.order],
            nearest=self._nearest(domains.refine_neighbors) if domains.refine else None,
        )
        self.assigner = found.assigner
        self.adata.obs[keys.DOMAIN] = pd.Categorical(self._restored(found.domain))
        self.adata.obs[keys.DOMAIN_UNREFINED] = pd.Categorical(self._restored(found.domain_unrefined))

    def reference(self, method: CorrectionMethod, encoder: str) -> Reference:
        """What placing new samples needs, once all steps are done."""
        from stalign_core.mapping import Reference

        domains = self.settings.domains
        return Reference(
            method=method,
            expression_basis=self.expression_basis,
            expression_terms=self.expression_terms,
            encoder_name=encoder,
            encoder=self.settings.encoders[encoder],
            encoder_sha256=self.encoder_sha256,
            morphology=self.settings.morphology,
            morphology_basis=self.morphology_basis,
            morphology_terms=self.morphology_terms,
            model=self.model,
            assigner=self.assigner,
            familiarity=self._familiarity(),
            refine_neighbors=domains.refine_neighbors if domains.refine else 0,
            mean_log_counts=self._mean_log_counts() if method == "scvi" else None,
        )

    def _familiarity(self) -> Familiarity:
        from stalign_core.mapping.familiarity import fit_familiarity

        domain = self.adata.obs[keys.DOMAIN].to_numpy(dtype=object)
        return fit_familiarity(
            lambda: ((self.adata.X[rows], self.genes, domain[rows]) for rows in self.samples.values()),
            self.panel,
            self.settings.expression.target_sum,
        )

    def _mean_log_counts(self) -> NDArray[np.float64]:
        from stalign_core.correction.scvi_mapping import mean_log_counts

        sections = ((self.adata.X[rows], self.genes) for rows in self.samples.values())
        return mean_log_counts(sections, self.panel)

    @property
    def _rows(self) -> list[tuple[str, NDArray[np.intp]]]:
        return list(self.samples.items())

    def _codes(self) -> NDArray[np.int64]:
        codes = np.zeros(self.adata.n_obs, dtype=np.int64)
        for code, rows in enumerate(self.samples.values()):
            codes[rows] = code
        return codes

    def _nearest(self, n_neighbors: int) -> NDArray[np.int64]:
        """Nearest spots within the sample, as positions in `order`; -1 where there is none."""
        from stalign_core.grid import nearest_within_samples

        return nearest_within_samples((self.cells[1][rows] for rows in self.samples.values()), n_neighbors)

    def _restored(self, ordered: NDArray[Any]) -> NDArray[Any]:
        """Rows back in the order of adata."""
        restored = np.empty_like(ordered)
        restored[self.order] = ordered
        return restored

    def _keep(self, key: str, per_sample: dict[str, Features]) -> None:
        first = next(iter(per_sample.values()))
        stacked = np.zeros((self.adata.n_obs, first.shape[1]), dtype=np.float32)
        for name, rows in self.samples.items():
            stacked[rows] = per_sample[name]
        self.adata.obsm[key] = stacked

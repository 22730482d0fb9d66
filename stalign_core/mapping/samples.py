"""Several new samples in one AnnData, in place: for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.errors import InputDataError
from stalign_core.mapping.reference import Reference
from stalign_core.mapping.section import MappedSection, map_section
from stalign_core.progress import Progress, silent

if TYPE_CHECKING:
    from anndata import AnnData


def map_samples(adata: AnnData, reference: Reference, progress: Progress | None = None) -> dict[str, MappedSection]:
    """Place samples that were never seen in a trained space, and name their domains, in place.

    Each sample is mapped by itself: what comes of it does not depend on the others.

    Parameters
    ----------
    adata
        From `stalign_core.read_cohort`, of the new samples alone.
    reference
        From `stalign_core.fit_reference` or `stalign_core.mapping.load_reference`.
    progress
        Told what is being done.

    Returns
    -------
    What was found, by sample. ``adata`` gains the obsm that `stalign_core.integrate` gives, ``X_pca`` only where the
    reference has axes of expression; obs ``domain``, ``domain_unrefined``, ``domain_confidence``, ``unlike_reference``
    and ``has_morphology``; and in uns["stalign"] ``mapping``: per sample, how many panel genes it lacks and how many
    spots are unlike the reference's.

    Raises
    ------
    StalignError
        If a sample cannot be used; ``adata`` then stays as it was.
    """
    told = progress or silent
    sections = _sections(adata)
    has_images = any(section.uns[keys.STALIGN]["image"] for section in sections.values())
    encoder = reference.load_encoder() if has_images and reference.reads_images else None
    mapped = {}
    for done, (name, section) in enumerate(sections.items()):
        told(f"mapping {name}", done, len(sections))
        mapped[name] = map_section(section, reference, encoder, progress)
    told("mapped samples", len(sections), len(sections))
    _write(adata, reference.method, mapped)
    return mapped


def _sections(adata: AnnData) -> dict[str, AnnData]:
    """Each sample as the readers give it, in the order of first appearance."""
    names = adata.obs[keys.SAMPLE].to_numpy(dtype=object)
    try:
        facts = adata.uns[keys.STALIGN]["samples"]
        sections = {}
        for name in dict.fromkeys(names):
            sections[name] = adata[names == name].copy()
            sections[name].uns[keys.STALIGN] = dict(facts[name])
    except KeyError as error:
        raise InputDataError(
            "adata.uns['stalign']",
            f"says nothing of {error}",
            expected="the facts that read_cohort keeps",
            remedy="read the samples with stalign_core.read_cohort",
        ) from None
    return sections


def _write(adata: AnnData, method: str, mapped: dict[str, MappedSection]) -> None:
    names = adata.obs[keys.SAMPLE].to_numpy(dtype=object)

    def stacked(attribute: str) -> NDArray[Any]:
        parts = {name: np.asarray(getattr(section, attribute)) for name, section in mapped.items()}
        first = next(iter(parts.values()))
        rows = np.empty((adata.n_obs, *first.shape[1:]), dtype=first.dtype)
        for name, part in parts.items():
            rows[names == name] = part
        return rows

    components = stacked("expression")
    if components.shape[1]:
        adata.obsm[keys.X_PCA] = components
    adata.obsm[keys.expression_key(method)] = stacked("expression_corrected")
    adata.obsm[keys.X_MORPHOLOGY] = stacked("morphology")
    adata.obsm[keys.X_MORPHOLOGY_PCA] = stacked("morphology_components")
    if method != "uncorrected":
        adata.obsm[keys.X_MORPHOLOGY_HARMONY] = stacked("morphology_corrected")
    adata.obsm[keys.X_AESTETIK] = stacked("embedding")
    adata.obs[keys.DOMAIN] = pd.Categorical(stacked("domain"))
    adata.obs[keys.DOMAIN_UNREFINED] = pd.Categorical(stacked("domain_unrefined"))
    adata.obs[keys.DOMAIN_CONFIDENCE] = stacked("confidence")
    adata.obs[keys.UNLIKE_REFERENCE] = stacked("unlike")
    adata.obs[keys.HAS_MORPHOLOGY] = stacked("has_morphology")
    adata.uns[keys.STALIGN]["mapping"] = {
        name: {"n_genes_missing": len(section.missing_genes), "n_unlike": int(section.unlike.sum())}
        for name, section in mapped.items()
    }

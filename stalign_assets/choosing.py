"""``--n-domains auto``: K from the cohort's corrected expression, before anything that depends on K is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.samples import GRIDS, RAW
from stalign_assets.rows import rows_of
from stalign_core.errors import ArtifactError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.domains.stability import CountChoice
    from stalign_core.progress import Progress

CHOSEN_BY: tuple[str, ...] = ("harmony", "scvi", "scanorama", "uncorrected")
"""Whose features decide, in order of preference."""
N_NEAREST: Final = 6
"""Spots that a neighbourhood's mean has beside its own: one ring of a hexagonal lattice."""


def deciding_variant(study: Study, variants: tuple[str, ...]) -> str:
    """Of `variants`, the one whose features K is chosen by."""
    methods = {name: study.settings.variants[name].correction for name in variants}
    order = {method: place for place, method in enumerate(CHOSEN_BY)}
    return min(variants, key=lambda name: order.get(methods[name], len(order)))


def assets_before_k(recipes: Mapping[str, Recipe], variant: str) -> list[str]:
    """The cohort's assets up to the corrected features of a variant; none of them depends on K."""
    return [
        asset
        for asset in assets_of_scope(recipes, "cohort", (variant,))
        if recipes[asset].variant is None or recipes[asset].path[-1] == "corrected_features"
    ]


def choose_from_store(study: Study, variant: str, progress: Progress | None = None) -> CountChoice:
    """K by the features in force of a variant.

    Raises
    ------
    ArtifactError
        If they are not there.
    SettingsError
        If there are too few spots to choose.
    """
    from stalign_core.domains.stability import choose_n_domains
    from stalign_core.grid import nearest_within_samples

    asset = f"cohort/{variant}/corrected_features"
    features = study.store.current(asset, UNPARTITIONED)
    if features is None:
        raise ArtifactError(asset, "was not made", remedy="make it with 'stalign run STUDY'")
    donors = tuple(features.manifest.donors)
    raw = {donor: artifact for donor in donors if (artifact := study.store.current(RAW, donor)) is not None}
    rows = rows_of(raw, donors)
    expression = rows.stack({donor: features.arrays(f"{donor}.safetensors") for donor in donors}, "expression/")
    positions = []
    for donor, sample in rows.spans:
        grids = study.store.current(GRIDS, donor)
        assert grids is not None, "the features were made with them"
        positions.append(grids.arrays(f"{sample}.safetensors")["positions"])
    nearest = nearest_within_samples(positions, N_NEAREST)
    return choose_n_domains(expression, nearest, rows.sample_codes, study.settings.seed, progress=progress)

"""Assets of one scope and variant: corrected features, model, embeddings, domains, metrics, and what domains mean.

One function makes the chain for every variant of either scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.downstream import downstream_recipes
from stalign_assets.recipes.features import SPOTS, has_correction_basis, partitioning_of
from stalign_assets.recipes.recipe import Input, Recipe
from stalign_assets.recipes.samples import GRIDS, RAW
from stalign_assets.recipes.variant_steps.correct import correct, correction_settings
from stalign_assets.recipes.variant_steps.correspond import (
    compare_with_release,
    correspondence_settings,
    pinned_domains,
)
from stalign_assets.recipes.variant_steps.measure import measure_variant, metric_settings
from stalign_assets.recipes.variant_steps.name_domains import domain_settings, name_domains
from stalign_assets.recipes.variant_steps.train import embed, model_settings, train
from stalign_core.correction.registry import METHODS
from stalign_core.settings import variant_group

if TYPE_CHECKING:
    from stalign_core.settings import Scope, Settings, VariantSettings

_CORRECTION_VERSION: Final = 2
_MODEL_VERSION: Final = 2
_EMBEDDING_VERSION: Final = 1
_DOMAINS_VERSION: Final = 2
_CORRESPONDENCE_VERSION: Final = 1
_METRICS_VERSION: Final = 2


def variant_recipes(settings: Settings, scope: Scope, variant: str) -> Iterator[Recipe]:
    """Recipes of the group `<scope>_<variant>`."""
    chosen = settings.variants[variant]
    method = METHODS[chosen.correction]
    prefix = f"{scope}/{variant}"
    common: dict[str, Any] = {
        "group": f"{scope}_{variant_group(variant)}",
        "partitioning": partitioning_of(scope),
        "variant": variant,
    }
    expression, morphology = _expression_source(settings, scope, chosen), _morphology_source(scope, chosen)
    yield Recipe(
        asset=f"{prefix}/corrected_features",
        description=f"Expression corrected by {chosen.correction}, and the morphology that goes with it.",
        code_version=_CORRECTION_VERSION,
        inputs=(*expression, Input(morphology, ("*.safetensors",)), SPOTS),
        settings=partial(correction_settings, variant),
        compute=partial(correct, chosen, expression[0].asset, morphology),
        seeded=method.seeded,
        pool="gpu" if method.needs == "counts" else None,
        kinds=("torch" if method.needs == "counts" else "numpy",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/aestetik_model",
        description="The AESTETIK autoencoder trained on the grids of corrected features.",
        code_version=_MODEL_VERSION,
        inputs=(Input(f"{prefix}/corrected_features", ("*.safetensors",)), Input(GRIDS), SPOTS),
        settings=partial(model_settings, variant),
        compute=partial(train, variant),
        seeded=True,
        pool="gpu",
        kinds=("torch",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/spot_embeddings",
        description="The model's vector of each spot, one part per donor.",
        code_version=_EMBEDDING_VERSION,
        inputs=(
            Input(f"{prefix}/aestetik_model"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            SPOTS,
        ),
        settings=lambda _: {},
        compute=partial(embed, variant),
        kinds=("torch",),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/domains",
        description="Tissue domains: clusters of the embeddings, refined by the nearest spots.",
        code_version=_DOMAINS_VERSION,
        inputs=(
            Input(f"{prefix}/spot_embeddings"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            SPOTS,
        ),
        settings=domain_settings,
        compute=partial(name_domains, variant),
        seeded=True,
        kinds=("parquet",),
        **common,
    )
    if scope == "cohort":
        yield Recipe(
            asset=f"{prefix}/domain_correspondence",
            description="What became of the domains of the release pinned last, and the names that the domains keep.",
            code_version=_CORRESPONDENCE_VERSION,
            inputs=(Input(f"{prefix}/domains", ("domains.parquet",)),),
            settings=partial(correspondence_settings, variant),
            compute=partial(compare_with_release, f"{prefix}/domains"),
            pinned=partial(pinned_domains, variant),
            kinds=("parquet",),
            **common,
        )
    yield Recipe(
        asset=f"{prefix}/metrics",
        description="Agreement with labels, mixing of samples and spatial coherence, before and after AESTETIK.",
        code_version=_METRICS_VERSION,
        inputs=(
            Input(f"{prefix}/domains", ("*.parquet",)),
            Input(f"{prefix}/spot_embeddings"),
            Input(f"{prefix}/corrected_features", ("*.safetensors",)),
            Input(GRIDS),
            Input(RAW, ("*.spots.parquet", "*.labels.parquet")),
        ),
        settings=metric_settings,
        compute=partial(measure_variant, variant),
        seeded=True,
        kinds=("parquet",),
        **common,
    )
    if scope == "cohort":
        yield from downstream_recipes(settings, variant)


def _expression_source(settings: Settings, scope: Scope, variant: VariantSettings) -> tuple[Input, ...]:
    if variant.correction == "scvi":
        return (Input(f"{scope}/gene_panel", ("panel.parquet",)), Input(RAW, ("*.counts.h5ad", "*.spots.parquet")))
    if variant.representation == "pca":
        own = variant.correction != "uncorrected" and has_correction_basis(settings, scope)
        return (Input(f"{scope}/{'correction' if own else 'expression'}_pca", ("*.safetensors",)),)
    return (Input(f"{scope}/representation_pca/{variant.representation}", ("*.safetensors",)),)


def _morphology_source(scope: Scope, variant: VariantSettings) -> str:
    kind = "morphology_pca" if variant.correction == "uncorrected" else "morphology_harmony"
    return f"{scope}/{kind}/{variant.encoder}"

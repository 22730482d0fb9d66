"""Every obs, var, obsm and uns key that stalign reads or writes, each defined once."""

from __future__ import annotations

from typing import Final

# obs
SAMPLE: Final = "sample"
DONOR: Final = "donor"
BARCODE: Final = "barcode"
LABEL: Final = "label"
IN_TISSUE: Final = "in_tissue"
ARRAY_ROW: Final = "array_row"
ARRAY_COL: Final = "array_col"
DOMAIN: Final = "domain"
DOMAIN_UNREFINED: Final = "domain_unrefined"
DOMAIN_CONFIDENCE: Final = "domain_confidence"
UNLIKE_REFERENCE: Final = "unlike_reference"

# var
SYMBOL: Final = "symbol"

# obsm
SPATIAL: Final = "spatial"
X_PCA: Final = "X_pca"
X_HARMONY: Final = "X_pca_harmony"
X_SCANORAMA: Final = "X_scanorama"
X_SCVI: Final = "X_scVI"
X_MORPHOLOGY: Final = "X_morphology"
X_MORPHOLOGY_PCA: Final = "X_morphology_pca"
X_MORPHOLOGY_HARMONY: Final = "X_morphology_pca_harmony"
X_AESTETIK: Final = "X_aestetik"

# obs flag: the spot has a usable image patch
HAS_MORPHOLOGY: Final = "has_morphology"

# uns[STALIGN] holds per-sample facts: see SampleFacts in stalign_core.readers.facts
STALIGN: Final = "stalign"

_EXPRESSION_KEYS: Final = {
    "uncorrected": X_PCA,
    "harmony": X_HARMONY,
    "scanorama": X_SCANORAMA,
    "scvi": X_SCVI,
}


def expression_key(method: str) -> str:
    """The obsm key of expression as a correction method leaves it: scanpy's where it has one, else ``X_<method>``."""
    return _EXPRESSION_KEYS.get(method, f"X_{method}")

"""One section as exports take it, and what all formats share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stalign_core import keys
from stalign_core.domains.numbering import natural_order
from stalign_core.plots.palette import color_map

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class ExportSection:
    """A section's counts, spots and results, rows in the order of its input.

    Attributes
    ----------
    sample
        Its name.
    counts
        Raw counts, (n_spots, n_genes).
    genes
        Keys and, in column ``symbol``, symbols of the genes, (n_genes,).
    obs
        A row per spot: ``sample``, ``donor``, ``barcode``, ``domain`` and whatever else is known of it.
    obsm
        Embeddings by key, each (n_spots, d).
    spatial
        Centres of the spots in full-resolution pixels, (n_spots, 2) as (x, y).
    spot_diameter
        In full-resolution pixels.
    pictures
        Small pictures by kind (``hires``, ``lowres``), (height, width, 3) uint8.
    picture_scales
        Their pixels per full-resolution pixel, by kind.
    """

    sample: str
    counts: csr_matrix
    genes: pd.DataFrame
    obs: pd.DataFrame
    obsm: Mapping[str, NDArray[np.float32]]
    spatial: NDArray[np.float64]
    spot_diameter: float
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    picture_scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def spot_names(self) -> NDArray[np.object_]:
        """Names that are unique in a cohort, ``<sample>_<barcode>``, (n_spots,)."""
        return np.array([f"{self.sample}_{barcode}" for barcode in self.obs[keys.BARCODE]], dtype=object)

    def scanpy_pictures(self) -> dict[str, Any]:
        """What scanpy's plots look up under ``uns["spatial"][sample]``."""
        scales = {f"tissue_{kind}_scalef": float(scale) for kind, scale in self.picture_scales.items()}
        return {
            "images": dict(self.pictures),
            "scalefactors": {"spot_diameter_fullres": float(self.spot_diameter), **scales},
        }


def domain_colors(domains: Iterable[str]) -> dict[str, str]:
    """A colour per domain, the one that stalign's own pictures have, in natural order."""
    return color_map(sorted({str(name) for name in domains}, key=natural_order))

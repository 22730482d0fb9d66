"""Small sections with an image, for the tests of morphology."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from PIL import Image

from stalign_core.readers.facts import SampleFacts

FACTS = SampleFacts(
    lattice="hexagonal",
    key_space="ensembl",
    image="",
    image_kind="none",
    image_scale=0.0,
    spot_diameter=20.0,
    n_spots_off_tissue=0,
    warnings=[],
    sources=[],
)


def tissue(height: int, width: int, n_nuclei: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pink tissue with round blue-violet nuclei of six pixels' radius."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.empty((height, width, 3))
    picture[:] = (230, 160, 200)
    for _ in range(n_nuclei):
        nucleus_y, nucleus_x = rng.uniform(0, height), rng.uniform(0, width)
        picture[(y - nucleus_y) ** 2 + (x - nucleus_x) ** 2 < 36] = (80, 50, 140)
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def section(positions: NDArray[np.number], image: Path | None, image_scale: float = 1.0) -> AnnData:
    """A section without genes, with spots at `positions` in full-resolution pixels."""
    n_spots = len(positions)
    obs = pd.DataFrame({"sample": ["S1"] * n_spots}, index=[f"spot{spot}" for spot in range(n_spots)])
    adata = AnnData(X=np.zeros((n_spots, 0), dtype=np.float32), obs=obs)
    adata.obsm["spatial"] = np.asarray(positions, dtype=np.float64)
    facts = FACTS
    if image is not None:
        facts = replace(FACTS, image=str(image), image_kind="full", image_scale=image_scale)
    adata.uns["stalign"] = facts.to_dict()
    return adata


def saved(picture: NDArray[np.uint8], path: Path) -> Path:
    """Write a picture and give its path."""
    Image.fromarray(picture).save(path)
    return path

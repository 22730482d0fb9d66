"""A section in pieces: counts, spots, labels, lattice, image; each piece matters to other results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stalign_core import keys
from stalign_core.readers.facts import LatticeKind, SampleFacts

if TYPE_CHECKING:
    from anndata import AnnData


def section_tables(section: AnnData) -> tuple[AnnData, pd.DataFrame, pd.DataFrame]:
    """Take a section apart.

    Returns
    -------
    counts
        AnnData with X, barcodes and gene symbols alone.
    spots
        Columns barcode, array_row, array_col (where the section has them), x, y in full-resolution pixels.
    labels
        Columns barcode, label (missing where a spot is not annotated).
    """
    import anndata

    barcodes = section.obs[keys.BARCODE].to_numpy(dtype=object)
    counts = anndata.AnnData(
        section.X,
        obs=pd.DataFrame(index=pd.Index(barcodes.astype(str))),
        var=pd.DataFrame({keys.SYMBOL: section.var[keys.SYMBOL].astype(str)}, index=section.var_names),
    )
    spots = pd.DataFrame({keys.BARCODE: barcodes})
    for column in (keys.ARRAY_ROW, keys.ARRAY_COL):
        if column in section.obs:
            spots[column] = section.obs[column].to_numpy(dtype=np.int32)
    spots["x"], spots["y"] = section.obsm[keys.SPATIAL].astype(np.float64).T
    labels = pd.DataFrame({keys.BARCODE: barcodes, keys.LABEL: _labels_of(section)})
    return counts, spots, labels


def lattice_record(section: AnnData) -> dict[str, Any]:
    """How array positions and gene keys are to be read."""
    facts = SampleFacts.from_dict(section.uns[keys.STALIGN])
    return {"lattice": facts.lattice, "key_space": facts.key_space}


def image_record(section: AnnData, hash_of: Callable[[Path], str]) -> dict[str, Any]:
    """What morphology needs to know of a section's image.

    The record names the image by its hash, so that moving files changes no result.
    """
    facts = SampleFacts.from_dict(section.uns[keys.STALIGN])
    return {
        "image_sha256": hash_of(Path(facts.image)) if facts.image else "",
        "image_kind": facts.image_kind,
        "image_scale": facts.image_scale,
        "spot_diameter": facts.spot_diameter,
    }


def describe_section(section: AnnData) -> dict[str, Any]:
    """Numbers of a section for people and for checks."""
    facts = SampleFacts.from_dict(section.uns[keys.STALIGN])
    labels = _labels_of(section)
    per_spot = np.asarray(section.X.sum(axis=1)).ravel()
    return {
        "spots": int(section.n_obs),
        "genes": int(section.n_vars),
        "genes_detected": len(np.unique(section.X.indices)),
        "median_counts_per_spot": float(np.median(per_spot)),
        "labels": sorted({str(label) for label in labels if not pd.isna(label)}),
        "spots_annotated": int((~pd.isna(labels)).sum()),
        "image": facts.image_kind,
        "spots_off_image": _spots_off_image(section, facts),
        "lattice": facts.lattice,
        "key_space": facts.key_space,
        "warnings": facts.warnings,
    }


def section_for_morphology(sample: str, spots: pd.DataFrame, image: Mapping[str, Any], image_path: str) -> AnnData:
    """A section without counts, as much of it as an encoder reads."""
    import anndata

    facts = SampleFacts(
        lattice="square",
        key_space="symbol",
        image=image_path,
        image_kind=image["image_kind"],
        image_scale=image["image_scale"],
        spot_diameter=image["spot_diameter"],
        n_spots_off_tissue=0,
        warnings=[],
        sources=[],
    )
    section = anndata.AnnData(
        obs=pd.DataFrame({keys.SAMPLE: sample}, index=pd.Index(spots[keys.BARCODE].astype(str).to_numpy()))
    )
    section.obsm[keys.SPATIAL] = spots[["x", "y"]].to_numpy(dtype=np.float64)
    section.uns[keys.STALIGN] = facts.to_dict()
    return section


def _labels_of(section: AnnData) -> np.ndarray[Any, Any]:
    labels = section.obs[keys.LABEL].astype(object)
    return np.asarray(labels.where(labels.notna(), None).to_numpy(dtype=object))


def _spots_off_image(section: AnnData, facts: SampleFacts) -> int:
    if not facts.image:
        return 0
    from stalign_core.images import probe_image

    size = probe_image(Path(facts.image))
    x, y = (section.obsm[keys.SPATIAL] * facts.image_scale).T
    return int(((x < 0) | (y < 0) | (x >= size.width) | (y >= size.height)).sum())


def spot_cells(
    spots: pd.DataFrame, spatial: np.ndarray[Any, Any], kind: LatticeKind
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Lattice cell, (n, 2) int32, and isotropic position, (n, 2) float64, of each spot of one section.

    Parameters
    ----------
    spots
        Columns array_row and array_col; not read where the lattice is irregular.
    spatial
        (n, 2) x and y in any unit.
    kind
        The lattice's kind.
    """
    from stalign_core.grid import pack_lattice

    place = spatial[:, ::-1] if kind == "irregular" else spots[[keys.ARRAY_ROW, keys.ARRAY_COL]].to_numpy()
    lattice = pack_lattice(place[:, 0], place[:, 1], kind)
    return lattice, spot_positions(lattice, kind, spatial)


def spot_positions(
    lattice: np.ndarray[Any, Any], kind: LatticeKind, spatial: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Positions in which distance is isotropic, in spot spacings, (n, 2) float64.

    A lattice gives them exactly; spots without one keep their own coordinates, over their median spacing.

    Parameters
    ----------
    lattice
        (n, 2) packed cells.
    kind
        The lattice's kind.
    spatial
        (n, 2) x and y in any unit.
    """
    from stalign_core.grid import lattice_positions
    from stalign_core.readers.lattice import median_pitch

    if kind == "irregular" and len(spatial) > 1:
        return spatial.astype(np.float64) / (median_pitch(spatial.astype(np.float64)) or 1.0)
    return lattice_positions(lattice, kind)

"""The whole cohort as one .h5ad that scanpy plots straight away; memory holds one section's counts at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stalign_core import keys
from stalign_core.exports.section import ExportSection, domain_colors

if TYPE_CHECKING:
    from anndata import AnnData


def write_atlas(
    path: Path, sections: Iterable[ExportSection], genes: Sequence[str], facts: Mapping[str, Any] | None = None
) -> int:
    """Write all sections on the genes that they share; the file appears when it is whole.

    Parameters
    ----------
    path
        The .h5ad to be.
    sections
        One after another.
    genes
        Keys of the genes to keep, which every section has.
    facts
        Kept under ``uns["stalign"]``.

    Returns
    -------
    How many spots it has. X holds raw counts (CSR); obs, obsm and ``obsm["spatial"]`` are the sections'; uns holds
    ``spatial`` with the small pictures, and ``domain_colors`` in the order of the categories.
    """
    import h5py
    from anndata.experimental import concat_on_disk
    from anndata.io import write_elem

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        parts: list[Path] = []
        obs: list[pd.DataFrame] = []
        pictures: dict[str, Any] = {}
        symbols: Any = None
        for section in sections:
            part = scratch / f"{len(parts)}.h5ad"
            _section_adata(section, genes).write_h5ad(part)
            parts.append(part)
            obs.append(section.obs.set_axis(section.spot_names))
            pictures[section.sample] = section.scanpy_pictures()
            symbols = section.genes.loc[list(genes), keys.SYMBOL] if symbols is None else symbols
        whole = scratch / "atlas.h5ad"
        concat_on_disk(parts, whole, join="inner")
        table = _categorical(pd.concat(obs))
        colors = domain_colors(table[keys.DOMAIN].cat.categories)
        with h5py.File(whole, "r+") as file:
            write_elem(file, "obs", table)
            write_elem(file, "var", pd.DataFrame({keys.SYMBOL: symbols.to_numpy()}, index=pd.Index(genes)))
            uns = {
                keys.SPATIAL: pictures,
                f"{keys.DOMAIN}_colors": np.array(list(colors.values()), dtype=object),
                keys.STALIGN: dict(facts or {}),
            }
            write_elem(file, "uns", uns)
        whole.replace(path)
        return len(table)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _section_adata(section: ExportSection, genes: Sequence[str]) -> AnnData:
    from anndata import AnnData

    columns = section.genes.index.get_indexer(pd.Index(genes))
    counts = section.counts[:, columns]
    counts.sort_indices()
    adata = AnnData(counts, obs=pd.DataFrame(index=section.spot_names), var=pd.DataFrame(index=pd.Index(genes)))
    for key, rows in section.obsm.items():
        adata.obsm[key] = rows
    adata.obsm[keys.SPATIAL] = section.spatial
    return adata


def _categorical(table: pd.DataFrame) -> pd.DataFrame:
    """Texts as categories, those of domains in natural order."""
    table = table.copy()
    for column in table.select_dtypes(include=["object", "string", "category"]).columns:
        if column == keys.BARCODE:
            continue
        values = table[column].astype(object)
        known = [str(value) for value in values.dropna().unique()]
        table[column] = pd.Categorical(values.where(values.isna(), values.astype(str)), list(domain_colors(known)))
    return table

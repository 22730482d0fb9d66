"""How genes are named: Ensembl ids and symbols, and the genes that all samples of a cohort share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stalign_core.errors import InputDataError
from stalign_core.readers.facts import KeySpace

# Stable ids of Ensembl (vertebrates), and the ids that Ensembl takes over from FlyBase, WormBase and TAIR.
_ENSEMBL = r"(?:ENS[A-Z]*G\d{11}|FBgn\d{7}|WBGene\d{8}|AT[1-5CM]G\d{5})"
# A version (".14"), and the mark of the pseudoautosomal copies, vary between references of the same gene.
_DECORATED = rf"^({_ENSEMBL})(?:\.\d+)?(?:_PAR_Y)?$"


def key_space_of(keys: NDArray[np.object_]) -> KeySpace:
    """``"ensembl"`` where at least half of the keys are Ensembl ids (a reference may hold transgenes besides)."""
    if len(keys) == 0:
        return "symbol"
    matching = pd.Series(keys, dtype=object).str.match(_DECORATED)
    return "ensembl" if matching.mean() >= 0.5 else "symbol"


def canonical_keys(keys: NDArray[np.object_]) -> NDArray[np.object_]:
    """Ensembl ids without version and copy mark; every other key as it is."""
    as_given = pd.Series(keys, dtype=object)
    bare = as_given.str.extract(_DECORATED, expand=False)
    return bare.where(bare.notna(), as_given).to_numpy(dtype=object)


@dataclass(frozen=True)
class SharedGenes:
    """Genes that every sample has, sorted by key, and how many of its own genes each sample loses by that."""

    genes: NDArray[np.object_]
    lost: dict[str, int]


def share_genes(genes: Mapping[str, NDArray[np.object_]], where: str) -> SharedGenes:
    """Find the genes that all samples share.

    Parameters
    ----------
    genes
        Gene keys of each sample, without duplicates.
    where
        What an error names: the sample sheet or the scope.

    Raises
    ------
    InputDataError
        If some samples key their genes by Ensembl id and others by symbol, or no gene is shared.
    """
    spaces = {sample: key_space_of(keys) for sample, keys in genes.items()}
    first = next(iter(genes))
    for sample, space in spaces.items():
        if space != spaces[first]:
            raise InputDataError(
                where,
                f"mixes gene keys: sample {first} has {_words(spaces[first])} ({genes[first][0]}), "
                f"sample {sample} {_words(space)} ({genes[sample][0]})",
                expected="one kind for the whole cohort",
                remedy="convert the genes of one of them",
            )
    shared = set(genes[first])
    for sample, keys in genes.items():
        remaining = shared.intersection(keys)
        if not remaining:
            raise InputDataError(
                where,
                f"the samples share no gene: none of the {len(keys)} genes of sample {sample} is among the "
                f"{len(shared)} that the samples before it share",
                expected="samples of one species and one gene annotation",
            )
        shared = remaining
    lost = {sample: len(keys) - len(shared) for sample, keys in genes.items()}
    return SharedGenes(np.array(sorted(shared), dtype=object), lost)


def _words(space: KeySpace) -> str:
    return "Ensembl ids" if space == "ensembl" else "symbols"

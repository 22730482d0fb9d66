"""Scanorama, through the scanorama package, on features already reduced.

As ``scanpy.external.pp.scanorama_integrate`` calls it, with three differences. The features are first brought to a
root mean square length of 1, and the result back: Scanorama's own pipeline corrects cells of unit length (Hie et al.
2019), and its kernel width `sigma` means something on that scale only; on principal components as they come, which are
several times as long, the kernel shrinks to the nearest match and spots are thrown about. Neighbours are exact: the
approximate index splits its trees over the machine's cores, so that its neighbours depend on their number, and at
14,000 spots exact search takes no longer. And the blocks in which the correction is averaged shrink as the cohort
grows, so that memory stays bounded; the result does not depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.random_state import numpy_state_kept
from stalign_core.correction.result import (
    Batches,
    CorrectionResult,
    Features,
    batch_codes,
    check_features,
    unchanged,
)
from stalign_core.errors import CorrectionError

if TYPE_CHECKING:
    from stalign_core.settings import CorrectionSettings

SMALLEST_ALIGNMENT: Final = 0.1
"""Batches are joined if more than this share of the smaller one has a mutual neighbour; scanorama's default."""
LARGEST_BLOCK: Final = 5000
"""Matches averaged at once; scanpy's default."""
KERNEL_ENTRIES: Final = 20_000_000
"""Entries of the smoothing kernel held at once: 160 MB."""


def correct(features: Features, batches: Batches, settings: CorrectionSettings, seed: int) -> CorrectionResult:
    """Correct features by Scanorama.

    Parameters
    ----------
    features
        (n_spots, n_components).
    batches
        (n_spots,) str; taken in the order of their names.
    settings
        `settings.scanorama` is used.
    seed
        Unused: with exact neighbours nothing is drawn.

    Returns
    -------
    CorrectionResult
        No arrays: Scanorama cannot map new samples. The facts name batches that matched no other and so stay as
        they came.

    Raises
    ------
    CorrectionError
        If the features cannot be corrected, or there are more spots than `settings.scanorama.max_spots`.
    """
    del seed
    check_features(features, "scanorama")
    _check_size(len(features), settings.scanorama.max_spots)
    names, codes = batch_codes(batches, len(features), "scanorama")
    if len(names) == 1:
        return unchanged(features, "there is one batch only")
    rows = [np.flatnonzero(codes == batch) for batch in range(len(names))]
    n_neighbors = min(settings.scanorama.n_neighbors, *map(len, rows))
    length = float(np.sqrt((features.astype(np.float64) ** 2).sum(axis=1).mean())) or 1.0
    parts = [features[inside].astype(np.float64) / length for inside in rows]
    alignments, matches = _alignments(parts, n_neighbors)
    if not alignments:
        return unchanged(features, "no two batches share enough mutual neighbours")
    corrected = np.empty(features.shape, dtype=np.float32)
    assembled = _assemble(parts, alignments, matches, settings.scanorama.sigma)
    for inside, part in zip(rows, assembled, strict=True):
        corrected[inside] = part * length
    if not np.isfinite(corrected).all():
        raise CorrectionError(
            "scanorama",
            "gave values that are not finite",
            remedy="lower correction.scanorama.sigma",
        )
    aligned = {batch for pair in alignments for batch in pair}
    facts = {
        "corrected": True,
        "batches": names,
        "sigma": settings.scanorama.sigma,
        "length": length,
        "n_neighbors": n_neighbors,
        "n_alignments": len(alignments),
        "n_matches": sum(len(matches[tuple(sorted(pair))]) for pair in alignments),
        "unaligned": [name for batch, name in enumerate(names) if batch not in aligned],
    }
    return CorrectionResult(corrected, facts=facts)


def _check_size(n_spots: int, max_spots: int) -> None:
    """Every spot is compared with those of every other batch, and again with every match."""
    if n_spots > max_spots:
        raise CorrectionError(
            "scanorama",
            f"got {n_spots:,} spots",
            expected=f"at most {max_spots:,} (correction.scanorama.max_spots): its time grows with their square",
            remedy="take harmony or scvi for a scope of this size, or raise the setting",
        )


Pair = tuple[int, ...]


def _alignments(
    parts: list[NDArray[np.float64]], n_neighbors: int
) -> tuple[list[Pair], dict[Pair, set[tuple[int, int]]]]:
    """Pairs of batches worth joining, best first, and the mutual neighbours of every pair."""
    # Importing the package seeds numpy's global generator.
    with numpy_state_kept():
        import scanorama

    alignments, matches = scanorama.find_alignments(
        parts, knn=n_neighbors, approx=False, alpha=SMALLEST_ALIGNMENT, verbose=0
    )
    return alignments, matches


def _assemble(
    parts: list[NDArray[np.float64]],
    alignments: list[Pair],
    matches: dict[Pair, set[tuple[int, int]]],
    sigma: float,
) -> list[NDArray[Any]]:
    import scanorama

    n_spots = sum(map(len, parts))
    assembled = scanorama.assemble(
        list(parts),
        alignments=alignments,
        matches=matches,
        sigma=sigma,
        batch_size=min(LARGEST_BLOCK, max(1, KERNEL_ENTRIES // n_spots)),
        verbose=0,
    )
    return [np.asarray(part) for part in assembled]

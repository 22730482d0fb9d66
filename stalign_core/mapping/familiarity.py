"""Whether a spot's expression resembles anything in the reference.

The embedding alone cannot tell: it knows few directions, standardisation and Harmony move a whole section onto the
reference, and a section of noise lands among its domains. The profile over the panel can: tissue correlates with the
mean profile of some domain, whatever the batch, and noise with none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.expression.normalisation import dense_blocks, log_normalised, panel_columns

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Matrix = NDArray[np.float64]
Section = tuple["csr_matrix", NDArray[np.object_], NDArray[np.object_]]
"""Raw counts (n_spots, n_genes), gene keys (n_genes,) and domains (n_spots,) of one fitted section."""

UNFAMILIAR_SHARE: Final = 0.001
"""Share of the fitted spots that resemble their reference less than a familiar spot must."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the reference's expression looks like.

    Attributes
    ----------
    profiles
        Mean log-normalised expression of each domain, (n_domains, n_panel).
    limit
        Resemblance below which a spot is unlike the reference.
    """

    profiles: Matrix
    limit: float

    def resemblance(self, counts: csr_matrix, columns: NDArray[np.int64], target_sum: float) -> Matrix:
        """Largest Pearson correlation of each spot's profile with a domain's, over the genes there are, (n_spots,).

        Parameters
        ----------
        counts
            Raw counts, (n_spots, n_genes).
        columns
            Column of each panel gene, -1 where the section lacks it, (n_panel,).
        target_sum
            Library size per spot after normalisation.

        Returns
        -------
        From -1 to 1; 0 for a spot without counts.
        """
        present = columns >= 0
        profiles = _directions(self.profiles[:, present])
        values = log_normalised(counts, columns[present], target_sum)
        return np.concatenate([(_directions(block) @ profiles.T).max(axis=1) for block in dense_blocks(values)])

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name and JSON-able facts, from which `from_arrays` rebuilds this."""
        return {"profiles": self.profiles}, {"limit": self.limit}

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> Familiarity:
        """Rebuild what `to_arrays` gave."""
        return Familiarity(arrays["profiles"], facts["limit"])


def fit_familiarity(
    sections: Callable[[], Iterable[Section]], panel: NDArray[np.object_], target_sum: float
) -> Familiarity:
    """The domains' profiles, and how little a fitted spot resembles the nearest of them.

    Parameters
    ----------
    sections
        Gives the fitted sections, one at a time; called twice.
    panel
        Gene keys, which every section has.
    target_sum
        Library size per spot after normalisation.
    """
    profiles = _profiles(sections(), panel, target_sum)
    open_limit = Familiarity(profiles, limit=-1.0)
    found = [open_limit.resemblance(counts, panel_columns(genes, panel), target_sum) for counts, genes, _ in sections()]
    return Familiarity(profiles, limit=float(np.quantile(np.concatenate(found), UNFAMILIAR_SHARE)))


def _profiles(sections: Iterable[Section], panel: NDArray[np.object_], target_sum: float) -> Matrix:
    sums: dict[str, Matrix] = {}
    sizes: dict[str, int] = {}
    for counts, genes, domain in sections:
        values = log_normalised(counts, panel_columns(genes, panel), target_sum)
        for name in set(domain):
            inside = domain == name
            sums[name] = sums.get(name, np.zeros(len(panel))) + np.asarray(values[inside].sum(axis=0)).ravel()
            sizes[name] = sizes.get(name, 0) + int(inside.sum())
    return np.stack([sums[name] / sizes[name] for name in sorted(sums)])


def _directions(rows: Matrix) -> Matrix:
    """Rows centred and brought to unit length; zero where a row does not vary."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions: Matrix = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return directions

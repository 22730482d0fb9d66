"""Which domains of a new integration are those of an earlier one: by the spots that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from stalign_core.domains.numbering import natural_order

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Fate = Literal["kept", "new", "split", "merged", "lost"]

HELD_AT_LEAST: Final = 0.5
"""Dice index from which a domain is the earlier one: on average half of the spots of the two are shared."""
SPLIT_AT_LEAST: Final = 0.1
"""Share of an earlier domain's spots that a domain needs to be a split of it, and not a new one with a few strays."""


@dataclass(frozen=True)
class DomainFate:
    """What became of a domain.

    Attributes
    ----------
    domain
        Its label.
    fate
        ``kept``, ``new``, ``split`` (part of an earlier domain) or ``merged`` (out of several); of an earlier domain
        ``kept``, ``split``, ``merged`` (into another) or ``lost``.
    others
        The domain that it keeps, parts it was split from or into, or those that it was merged from or into.
    n_spots, n_shared
        Its spots, and those that both integrations hold.
    overlap
        Dice index with the domain that it was matched with; 0 if with none.
    """

    domain: str
    fate: Fate
    others: tuple[str, ...]
    n_spots: int
    n_shared: int
    overlap: float


@dataclass(frozen=True)
class Correspondence:
    """Domains of an earlier integration beside those of now.

    Attributes
    ----------
    overlap
        Shared spots, one row per earlier domain and one column per domain of now.
    earlier, now
        The fate of each domain.
    held
        The earlier domain of each domain that is kept.
    """

    overlap: pd.DataFrame
    earlier: tuple[DomainFate, ...]
    now: tuple[DomainFate, ...]
    held: Mapping[str, str]


def correspond(earlier: pd.Series[str], now: pd.Series[str]) -> Correspondence:
    """Match domains one to one so that matched ones share as many spots as can be (maximum-weight assignment).

    A matched pair holds if its Dice index is at least `HELD_AT_LEAST`. An earlier domain that is not kept is split if
    two or more domains hold mostly its spots, merged if most of its spots lie in one domain, else lost. A domain that
    keeps none is merged if two or more earlier ones were merged into it, split if most of its shared spots, and a
    tenth of the other's, come from one, else new.

    Parameters
    ----------
    earlier, now
        Label of each spot, indexed alike by names that are unique, such as sample and barcode.
    """
    import pandas as pd
    from scipy.optimize import linear_sum_assignment

    shared = earlier.index.intersection(now.index)
    old, new = (sorted(set(labels), key=natural_order) for labels in (earlier, now))
    overlap = pd.crosstab(earlier.loc[shared].to_numpy(), now.loc[shared].to_numpy())
    overlap = overlap.reindex(index=old, columns=new, fill_value=0)
    counts = overlap.to_numpy()
    dice = _dice(counts)
    pairs = [(row, column) for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True)]
    kept = {int(column): int(row) for row, column in pairs if dice[row, column] >= HELD_AT_LEAST}
    parents = _parents(counts, kept)
    targets = _targets(counts, kept, parents)
    matched = {**{("old", int(row)): float(dice[row, column]) for row, column in pairs}}
    matched |= {("new", int(column)): float(dice[row, column]) for row, column in pairs}
    kept_by = {row: column for column, row in kept.items()}

    def of_now(column: int) -> tuple[Fate, list[str]]:
        absorbed = [old[row] for row, target in targets.items() if target == column]
        if column in kept:
            return "kept", [old[kept[column]]]
        if len(absorbed) > 1:
            return "merged", absorbed
        return ("split", [old[parents[column]]]) if column in parents else ("new", [])

    def of_earlier(row: int) -> tuple[Fate, list[str]]:
        parts = [new[column] for column, parent in parents.items() if parent == row]
        if row in kept_by:
            return "kept", [new[kept_by[row]]]
        if len(parts) > 1:
            return "split", parts
        return ("merged", [new[targets[row]]]) if row in targets else ("lost", [])

    sizes_old, sizes_new = earlier.value_counts(), now.value_counts()
    return Correspondence(
        overlap,
        tuple(
            DomainFate(name, *_frozen(of_earlier(row)), int(sizes_old[name]), int(n), matched.get(("old", row), 0.0))
            for row, (name, n) in enumerate(zip(old, counts.sum(axis=1), strict=True))
        ),
        tuple(
            DomainFate(name, *_frozen(of_now(column)), int(sizes_new[name]), int(n), matched.get(("new", column), 0.0))
            for column, (name, n) in enumerate(zip(new, counts.sum(axis=0), strict=True))
        ),
        {new[column]: old[row] for column, row in kept.items()},
    )


def stable_names(correspondence: Correspondence, used: Iterable[str]) -> dict[str, str]:
    """Name of each domain of now: the one that it keeps, else the next number that was never used.

    Parameters
    ----------
    used
        Names given before, those of domains that were lost included.
    """
    taken = {*used, *(fate.domain for fate in correspondence.earlier)}
    following = max((int(name) for name in taken if name.isdecimal()), default=0) + 1
    names = {}
    for fate in correspondence.now:
        if fate.domain in correspondence.held:
            names[fate.domain] = correspondence.held[fate.domain]
        else:
            names[fate.domain] = str(following)
            following += 1
    return names


def _frozen(found: tuple[Fate, list[str]]) -> tuple[Fate, tuple[str, ...]]:
    return found[0], tuple(found[1])


def _dice(counts: np.ndarray) -> np.ndarray:
    """Twice the shared spots over the spots of both, (n_earlier, n_now)."""
    import numpy as np

    both = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True)
    dice: np.ndarray = 2 * counts / np.maximum(both, 1)
    return dice


def _parents(counts: np.ndarray, kept: Mapping[int, int]) -> dict[int, int]:
    """The earlier domain that each domain is a part of, for those that keep none."""
    parents = {}
    for column, shared in enumerate(counts.sum(axis=0)):
        if column in kept or shared == 0:
            continue
        row = int(counts[:, column].argmax())
        most = counts[row, column]
        if 2 * most >= shared and most >= SPLIT_AT_LEAST * counts[row].sum():
            parents[column] = row
    return parents


def _targets(counts: np.ndarray, kept: Mapping[int, int], parents: Mapping[int, int]) -> dict[int, int]:
    """The domain that holds most spots of each earlier one, for those that are neither kept nor split."""
    targets = {}
    for row, shared in enumerate(counts.sum(axis=1)):
        n_parts = sum(parent == row for parent in parents.values())
        if row in kept.values() or shared == 0 or n_parts > 1:
            continue
        column = int(counts[row].argmax())
        if 2 * counts[row, column] >= shared:
            targets[row] = column
    return targets

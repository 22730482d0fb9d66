"""The hyperparameters that the paper's grid search tries (its Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, Final

Grid = Mapping[str, Sequence[Any]]

TABLE_1: Final[Mapping[str, Grid]] = MappingProxyType(
    {
        "scvi": {"n_layers": (1, 2, 3, 4)},
        "harmony": {"theta": (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0)},
        "scanorama": {"sigma": (10.0, 15.0, 20.0, 25.0)},
        "aestetik": {
            "morphology_weight": (0.0, 1.0, 1.5, 2.0, 3.0),
            "window": (5, 7),
            "refine": (True, False),
        },
        "uncorrected": {},
    }
)
"""Values of each model's hyperparameters; `uncorrected` has none."""


def combinations(*grids: Grid) -> list[dict[str, Any]]:
    """Every choice of one value per hyperparameter: of one model, or the Cartesian product of several.

    Parameters
    ----------
    grids
        One per model; their names are distinct.

    Returns
    -------
    One table per choice, the last hyperparameter changing fastest; a single empty one where there is none to choose.

    Raises
    ------
    ValueError
        If two models call a hyperparameter alike.
    """
    names = [name for grid in grids for name in grid]
    if len(set(names)) < len(names):
        raise ValueError("two grids share a name: " + ", ".join(sorted({n for n in names if names.count(n) > 1})))
    values = [grid[name] for grid in grids for name in grid]
    return [dict(zip(names, chosen, strict=True)) for chosen in product(*values)]

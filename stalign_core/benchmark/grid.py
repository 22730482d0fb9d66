"""The hyperparameters that the paper's grid search tries (its Table 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, Final

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.errors import SettingsError
from stalign_core.settings.correction import HarmonySettings, ScanoramaSettings, ScviSettings

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

_SEARCHED: Final = tuple(model for model, grid in TABLE_1.items() if grid)
_SECTIONS: Final = {"scvi": ScviSettings, "harmony": HarmonySettings, "scanorama": ScanoramaSettings}


def check_grids(grids: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
    """Refuse values that the models themselves would refuse.

    Raises
    ------
    SettingsError
        Naming the model, the hyperparameter and the value.
    """
    for model, grid in grids.items():
        if model not in TABLE_1 or not TABLE_1[model]:
            raise SettingsError(f"benchmark.grids.{model}", "has no hyperparameters", expected=_one_of(_SEARCHED))
        for name, values in grid.items():
            if name not in TABLE_1[model]:
                raise SettingsError(
                    f"benchmark.grids.{model}.{name}", "is not searched", expected=_one_of(TABLE_1[model])
                )
            if not values:
                raise SettingsError(f"benchmark.grids.{model}.{name}", "is empty", expected="one value at least")
            for value in values:
                _check_value(model, name, value)


def _check_value(model: str, name: str, value: Any) -> None:
    where = f"benchmark.grids.{model}.{name}"
    if name == "refine":
        if not isinstance(value, bool):
            raise SettingsError(where, f"holds {value!r}", expected="true or false")
        return
    try:
        if model == "aestetik":
            AestetikSettings(**{name: value})
        else:
            _SECTIONS[model](**{name: value})
    except ValueError:
        raise SettingsError(
            where, f"holds {value!r}", expected=f"a value that correction.{model}.{name} may have"
        ) from None
    except SettingsError as error:
        raise SettingsError(where, f"holds {value!r}", expected=error.expected) from None


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)


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

"""stalign_core: the science of stalign, usable without Dagster.

Public names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stalign_core.integration import fit_reference, integrate
    from stalign_core.mapping import Reference, load_reference, map_samples, save_reference
    from stalign_core.readers import read_cohort

__all__ = [
    "Reference",
    "fit_reference",
    "integrate",
    "load_reference",
    "map_samples",
    "read_cohort",
    "save_reference",
]

_HOME = {
    "Reference": "stalign_core.mapping",
    "fit_reference": "stalign_core.integration",
    "integrate": "stalign_core.integration",
    "load_reference": "stalign_core.mapping",
    "map_samples": "stalign_core.mapping",
    "read_cohort": "stalign_core.readers",
    "save_reference": "stalign_core.mapping",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'stalign_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

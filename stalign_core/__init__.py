"""stalign_core: the science of stalign, usable without Dagster.

Public names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stalign_core.integration import integrate
    from stalign_core.readers import read_cohort

__all__ = ["integrate", "read_cohort"]

_HOME = {"integrate": "stalign_core.integration", "read_cohort": "stalign_core.readers"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'stalign_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

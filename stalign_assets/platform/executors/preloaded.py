"""What the process that steps are forked from does before it serves: to be imported there, and nowhere else.

None of what is imported opens a device or starts threads by being imported.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from importlib import import_module
from typing import Final

from stalign_assets.threads import let_threads_sleep

_MODULES: Final = (
    "stalign_assets.runs",
    "stalign_assets.platform.build",
    "anndata",
    "scanpy",
    "torch",
    "lightning",
    "harmonypy",
    "umap",
    "scib_metrics",
    "duckdb",
)
"""What most steps need."""


def _prepare() -> None:
    """A library that cannot be loaded fails the steps that need it, with a line, and no other."""
    # A signal to the whole group ends the steps, which tell that they end, and the command; this process ends with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    let_threads_sleep()
    for name in _MODULES:
        with suppress(Exception):
            import_module(name)


_prepare()

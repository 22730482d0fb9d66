"""Beside a server: have it load its definitions anew when the study's settings ask for another graph.

``stalign ui`` starts this as a process of its own, which ends when the server does. Without it a variant that is added
to ``study.toml`` would wait, and the nightly integration with it, until somebody reloads the code location by hand.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.study import settings_of_study
from stalign_core.errors import StalignError
from stalign_core.settings import Settings
from stalign_core.store.hashing import digest

LOCATION: Final = "stalign_assets.definitions"
_LOOK_EVERY_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 120.0
_RELOAD: Final = "mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"


def graph_mark(settings: Settings) -> str:
    """Hash of all settings that definitions are built from: the graph, how it is run, and what happens unattended."""
    return digest(
        {
            "assets": [
                [recipe.asset, recipe.group, recipe.pool, [read.asset for read in recipe.inputs]]
                for recipe in recipes_of(settings).values()
            ],
            "execution": settings.execution,
            "automation": settings.automation,
        }
    )


def follow_settings(folder: Path, url: str, server: int) -> None:
    """Reload the definitions behind `url` after each change that asks for it, as long as `server` is the parent."""
    loaded = _mark_now(folder)
    while os.getppid() == server:
        time.sleep(_LOOK_EVERY_SECONDS)
        mark = _mark_now(folder)
        if mark not in (loaded, "") and reload_definitions(url):
            loaded = mark


def reload_definitions(url: str) -> bool:
    """Have the server load the definitions anew; returns whether it answered. What cannot be loaded, its pages tell."""
    body = json.dumps({"query": _RELOAD, "variables": {"name": LOCATION}}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    # A proxy that the environment names leads away from this machine.
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(request, timeout=_PATIENCE_SECONDS) as answered:
            return "data" in json.load(answered)
    except (OSError, ValueError):
        return False


def _mark_now(folder: Path) -> str:
    """The mark of the settings as they are; empty while they cannot stand, as when they are being written."""
    try:
        return graph_mark(settings_of_study(folder))
    except StalignError:
        return ""


if __name__ == "__main__":
    follow_settings(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

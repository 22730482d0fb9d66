"""What the results were made from: artifact, settings, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from stalign_core.reports import Section, folded, html_table, words
from stalign_core.settings import Settings

if TYPE_CHECKING:
    from stalign_assets.pages.content import ReportContent

_NOT_TOLD: Final = ("store", "remote_store", "execution", "automation", "benchmark")
"""Sections that say where and when something is computed, and the evaluation's own."""


def made_from(content: ReportContent) -> Section:
    """The artifact of the domains, every setting that differs from its default, all settings, and versions."""
    manifest = content.source.domains.manifest
    settings = settings_told(content.study.settings)
    changed = settings[settings["value"] != settings["default"]]
    lines = [
        f"Artifact {manifest.asset}, {manifest.input_key}, run {manifest.run_id}.",
        f"stalign audit STUDY --asset {manifest.asset} prints all that it was made from.",
    ]
    differing = html_table(changed) if len(changed) else words(["Every setting has its default."])
    versions = pd.DataFrame(sorted(manifest.packages.items()), columns=["package", "version"])
    return Section(
        "Made from",
        words(lines)
        + words(["Settings that differ from their defaults:"])
        + differing
        + folded(f"All {len(settings)} settings", html_table(settings))
        + folded("Versions of packages", html_table(versions)),
    )


def settings_told(settings: Settings) -> pd.DataFrame:
    """Settings that bear on results, with the columns ``setting``, ``value`` and ``default``."""
    values = dict(_flat("", settings.model_dump(mode="json", exclude=set(_NOT_TOLD))))
    defaults = dict(_flat("", Settings().model_dump(mode="json", exclude=set(_NOT_TOLD))))
    rows = [(name, value, defaults.get(name, "")) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["setting", "value", "default"])


def _flat(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Settings by dotted names, as study.toml would name them."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _flat(f"{where}.{name}".lstrip("."), each)
    else:
        yield where, "" if value is None else value if isinstance(value, str) else json.dumps(value)

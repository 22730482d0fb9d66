"""``docs/settings.md``: every setting, made from the typed settings themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Final

from stalign_assets.settings_file import entries_of
from stalign_core.settings import EncoderSettings, RepresentationSettings, Settings, VariantSettings

_HEAD: Final = """# Settings of study.toml

`stalign init` writes every setting with its default and what it means; this page lists the same. An unknown key, a
wrong type or an impossible value is refused with a line that names it. A changed setting recomputes what depends on it,
and nothing else. The file has most sections already: change their lines, for no section may stand there twice.
"""
_NAMED: Final[Mapping[str, Any]] = {
    "encoders.NAME": EncoderSettings(),
    "representations.NAME": RepresentationSettings(obsm="X_name"),
    "variants.NAME": VariantSettings(),
}
"""Tables that a study may hold several of, under names of its own."""


def settings_reference() -> str:
    """The page's text (Markdown)."""
    parts = [_HEAD]
    for section, rows in _sections("", Settings()):
        parts.append(_table(section, rows))
    for section, value in _NAMED.items():
        for name, rows in _sections(section, value):
            parts.append(_table(name, rows))
    return "\n".join(parts)


def _sections(where: str, section: Any) -> Iterator[tuple[str, list[tuple[str, Any, str]]]]:
    """A section's plain settings, then those of the sections below it."""
    plain, nested = [], []
    for name, value, meaning in entries_of(section):
        if hasattr(value, "model_dump") or is_dataclass(value):
            nested.append((f"{where}.{name}".lstrip("."), value))
        elif f"{name}.NAME" not in _NAMED or where:
            plain.append((name, value, meaning))
    if plain:
        yield where, plain
    for name, value in nested:
        yield from _sections(name, value)


def _table(section: str, rows: list[tuple[str, Any, str]]) -> str:
    lines = [
        f"\n## [{section}]\n" if section else "\n## At the top\n",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for name, value, meaning in rows:
        default = "" if value is None else f"`{json.dumps(value, default=str)}`"
        escaped = meaning.replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {escaped} |")
    return "\n".join(lines) + "\n"

"""Writing ``study.toml``: every setting with its default and what it means, and changing one value in place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_core.files import replace_file
from stalign_core.settings import Settings, parse_settings

if TYPE_CHECKING:
    from tomlkit.items import Table

_HEADER: Final = "Settings of this study. Every default is written out; delete a line to get the default back."


def settings_text(settings: Settings) -> str:
    """A commented ``study.toml`` that holds every setting."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment(_HEADER))
    document.add(tomlkit.nl())
    _fill(document, settings)
    return tomlkit.dumps(document)


def set_value(path: Path, section: str, name: str, value: Any) -> None:
    """Change one setting in place, keeping the file's comments; the result is validated before it is written.

    Raises
    ------
    SettingsError
        If the value cannot stand.
    """
    import tomlkit

    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    if section not in document:
        document[section] = tomlkit.table()
    document[section][name] = value  # type: ignore[index]
    parse_settings(document.unwrap(), where=str(path))
    replace_file(path, tomlkit.dumps(document))


def _fill(table: Any, section: Any) -> None:
    """Add plain values first, then the sections below, as TOML asks."""
    nested: list[tuple[str, Any, str]] = []
    for name, value, description in entries_of(section):
        if hasattr(value, "model_dump") or is_dataclass(value) or isinstance(value, Mapping):
            nested.append((name, value, description))
        else:
            _add_value(table, name, value, description)
    for name, value, description in nested:
        table.add(name, _sub_table(value, description))


def _add_value(table: Any, name: str, value: Any, description: str) -> None:
    import tomlkit

    if value is None:
        table.add(tomlkit.comment(f'{name} = ""  # {description}'))
        return
    item = tomlkit.item(value)
    if description:
        item.comment(description)
    table.add(name, item)


def _sub_table(value: Any, description: str = "") -> Table:
    import tomlkit

    table = tomlkit.table()
    if description:
        table.comment(description)
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if hasattr(entry, "model_dump") or isinstance(entry, Mapping):
                table.add(name, _sub_table(entry))
            else:
                table.add(name, entry)
    else:
        _fill(table, value)
    return table


def entries_of(section: Any) -> list[tuple[str, Any, str]]:
    """Name, value and meaning of each setting of a section."""
    if is_dataclass(section):
        described = _described_attributes(type(section))
        return [(entry.name, getattr(section, entry.name), described.get(entry.name, "")) for entry in fields(section)]
    return [
        (name, getattr(section, name), field.description or "") for name, field in type(section).model_fields.items()
    ]


def _described_attributes(kind: type) -> dict[str, str]:
    """What the section ``Attributes`` of a class's docstring says of each, as one line without quoting signs."""
    _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    described: dict[str, list[str]] = {}
    names: list[str] = []
    for line in re.split(r"\n\n(?=\S.*\n-+\n)", attributes)[0].splitlines():
        if line[:1].isspace():
            for name in names:
                described[name].append(line.strip())
        elif line:
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
            described |= {name: [] for name in names}
    return {name: " ".join(lines).replace("`", "").removesuffix(".") for name, lines in described.items()}

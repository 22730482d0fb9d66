"""How a setting that cannot stand becomes one line that names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pydantic import ValidationError

from stalign_core.aestetik.settings import REFERENCE_VALUES, AestetikSettings
from stalign_core.errors import SettingsError
from stalign_core.wording import meant

_LONGEST_SHOWN: Final = 80

_EXPECTED: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table of settings",
    "missing": "a value, for this setting has no default",
}
"""What was expected where pydantic found an error of this kind; of other kinds its own words tell."""


def settings_error(where: str, error: ValidationError, known: Mapping[str, Any]) -> SettingsError:
    """The first fault that pydantic found, and how many more there are; `known` are all settings, nested."""
    first = error.errors()[0]
    setting = f"{where}, " + ".".join(str(part) for part in first["loc"])
    more = f"(and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return unknown_setting(setting, _names_beside(first["loc"], known), more)
    problem = "is missing" if first["type"] == "missing" else f"is {shown(first['input'])}"
    return SettingsError(setting, problem, expected=_expected(first["type"], first["msg"]), remedy=more)


def aestetik_from_table(section: str, table: Any) -> AestetikSettings:
    """The model's settings from a table that may leave any of them out; its preset gives those.

    Raises
    ------
    SettingsError
        Naming the setting below `section`.
    """
    if not isinstance(table, dict):
        raise SettingsError(section, f"is {shown(table)}", expected="a table of settings")
    known = {field.name for field in fields(AestetikSettings)}
    for name in table:
        if name not in known:
            raise unknown_setting(f"{section}.{name}", known)
    given = {**REFERENCE_VALUES, **table} if table.get("preset") == "reference" else table
    try:
        return AestetikSettings(**given)
    except SettingsError as error:
        where = f"{section}.{error.where.removeprefix('aestetik.')}"
        raise SettingsError(where, error.problem, expected=error.expected, remedy=error.remedy) from None


def unknown_setting(where: str, known: Iterable[str], more: str = "") -> SettingsError:
    """There is no setting of this name; `known` are those of its section."""
    likely = meant(where.rpartition(".")[2].rpartition(" ")[2], known)
    hint = f"; did you mean {likely}?" if likely else ""
    return SettingsError(where, "is not a setting", remedy=f"remove it or correct its spelling{hint} {more}".strip())


def _names_beside(place: Sequence[str | int], known: Mapping[str, Any]) -> list[str]:
    """Names of the section that a setting stands in; a section of a user's own name is like the others beside it."""
    section: Any = known
    for part in place[:-1]:
        section = section.get(part, next(iter(section.values()), {})) if isinstance(section, Mapping) else {}
    return list(section) if isinstance(section, Mapping) else []


def shown(value: Any) -> str:
    """A value as TOML writes it, or nearly so, and never long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _expected(kind: str, words: str) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    bare = words.removeprefix("Input should be ")
    return f"a number {bare}" if kind.startswith(("greater_than", "less_than")) else bare

"""Reading ``study.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stalign_core.errors import SettingsError
from stalign_core.settings.faults import settings_error
from stalign_core.settings.study import STUDY_VERSION, Settings


def parse_settings(table: dict[str, Any], where: str = "settings") -> Settings:
    """Validate a nested table of settings.

    Raises
    ------
    SettingsError
        For an unknown key, a wrong type, an impossible value, or a study of a newer version.
    """
    version = table.get("study_version", STUDY_VERSION)
    if isinstance(version, int) and version > STUDY_VERSION:
        raise SettingsError(
            f"{where}, study_version",
            f"is {version}, made by a newer stalign",
            expected=f"at most {STUDY_VERSION}",
            remedy="upgrade stalign",
        )
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise settings_error(where, error, Settings().model_dump()) from None
    except SettingsError as error:
        raise SettingsError(
            f"{where}, {error.where}", error.problem, expected=error.expected, remedy=error.remedy
        ) from None


def read_settings(path: Path) -> Settings:
    """Read and validate a ``study.toml``.

    Raises
    ------
    SettingsError
        If the file is missing, is no TOML, or holds a setting that cannot stand.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), "does not exist", remedy="make it with 'stalign init'") from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), f"is not UTF-8 text ({error.reason})", remedy="save it again as UTF-8") from None
    except (ValueError, RecursionError) as error:  # besides its own errors, numbers and nesting beyond Python's limits
        raise SettingsError(str(path), f"is not valid TOML ({error})", remedy=_remedy_of(str(error))) from None
    except OSError as error:
        raise SettingsError(
            str(path), f"cannot be read ({error.strerror})", expected="a file that this account may read"
        ) from None
    return parse_settings(table, where=str(path))


def _remedy_of(fault: str) -> str:
    """What to do about a section or a setting that was added a second time, as one copied from a page is."""
    if fault.startswith(("Cannot declare", "Cannot overwrite")):
        return "it stands in the file already: change it there instead of adding it again"
    return ""

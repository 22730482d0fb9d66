"""Releases: domains that are pinned by name, kept in the store beside the artifacts that they name.

A release is one small file, replaced at once; whoever shares the store sees it, and `stalign gc` keeps what it names.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_core.errors import ArtifactError, StudyError
from stalign_core.files import replace_file
from stalign_core.naming import NAME_RULE, is_safe_name

if TYPE_CHECKING:
    from upath import UPath

    from stalign_core.store.store import Store

_FOLDER: Final = "releases"


@dataclass(frozen=True)
class PinnedDomains:
    """The domains of one variant in a release.

    Attributes
    ----------
    asset, partition, input_key
        The artifact.
    names
        The name that each of its labels has in the release.
    used
        Every name that this release or one before it gave.
    """

    asset: str
    partition: str
    input_key: str
    names: dict[str, str]
    used: tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """Domains of one or more variants under a name; a later release has a higher number."""

    name: str
    number: int
    created: str
    pinned: dict[str, PinnedDomains]


def check_new_name(store: Store, name: str) -> None:
    """Refuse the name of a release.

    Raises
    ------
    StudyError
        If it cannot be a file's, or is taken.
    """
    if not is_safe_name(name):
        raise StudyError("release", f"has the name '{name}'", expected=NAME_RULE)
    if _place(store, name).exists():
        raise StudyError(f"release {name}", "is pinned already", remedy="take another name, or unpin it first")


def keep_release(store: Store, release: Release) -> None:
    """Write a release.

    Raises
    ------
    StudyError
        If its name cannot be a file's, or is taken.
    """
    check_new_name(store, release.name)
    place = _place(store, release.name)
    text = json.dumps(asdict(release), indent=1)
    if not store.is_local:
        place.write_text(text, encoding="utf-8")
        return
    replace_file(Path(place.path), text)


def releases_of(store: Store) -> list[Release]:
    """Every release, the earliest first.

    Raises
    ------
    ArtifactError
        If one is not whole.
    """
    found = []
    for path in (store.base / _FOLDER).glob("[A-Za-z0-9]*.json"):
        with suppress(FileNotFoundError):
            found.append(_parse(path))
    return sorted(found, key=lambda release: release.number)


def release_named(store: Store, name: str) -> Release:
    """A release by its name.

    Raises
    ------
    StudyError
        If there is none.
    """
    found = {release.name: release for release in releases_of(store)}
    if name not in found:
        raise StudyError(f"release {name}", "is not pinned", expected="one of " + (", ".join(found) or "none"))
    return found[name]


def drop_release(store: Store, name: str) -> None:
    """Forget a release; what it names can be collected like anything else."""
    release_named(store, name)
    _place(store, name).unlink()


def _parse(path: UPath) -> Release:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        pinned = {
            variant: PinnedDomains(**{**each, "used": tuple(each["used"])}) for variant, each in table["pinned"].items()
        }
        return Release(**{**table, "pinned": pinned})
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(str(path), "is not a whole release", remedy="delete it, and pin again") from None


def _place(store: Store, name: str) -> UPath:
    return store.base / _FOLDER / f"{name}.json"

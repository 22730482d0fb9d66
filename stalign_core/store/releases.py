"""Releases: domains that are pinned by name, kept in the store beside the artifacts that they name.

A release is one small file, replaced at once; whoever shares the store sees it, and `stalign gc` keeps what it names.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from stalign_core.errors import ArtifactError, StudyError
from stalign_core.naming import NAME_RULE, is_safe_name
from stalign_core.store.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if store.read_note(_place(name)) is not None:
        raise StudyError(f"release {name}", "is pinned already", remedy="take another name, or unpin it first")


def keep_release(store: Store, release: Release) -> None:
    """Write a release.

    Raises
    ------
    StudyError
        If its name cannot be a file's, or is taken.
    """
    check_new_name(store, release.name)
    store.write_note(_place(release.name), json.dumps(_sealed(asdict(release)), indent=1).encode())


def releases_of(store: Store) -> list[Release]:
    """Every release, the earliest first.

    Raises
    ------
    ArtifactError
        If one is not whole.
    """
    found = [_read(store, path) for path in _files(store)]
    return sorted((release for release in found if release is not None), key=lambda release: release.number)


def broken_releases(store: Store) -> Iterator[ArtifactError]:
    """What is wrong with each release that cannot be read, or names what is not whole in the store."""
    for path in _files(store):
        try:
            release = _read(store, path)
            for pinned in () if release is None else release.pinned.values():
                if store.find(pinned.asset, pinned.partition, pinned.input_key) is None:
                    raise _broken(path, f"names {pinned.asset} {pinned.input_key}, which is not in the store any more")
        except ArtifactError as error:
            yield error


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
    store.remove_note(_place(name))


def _files(store: Store) -> list[UPath]:
    return sorted((store.base / _FOLDER).glob("[A-Za-z0-9]*.json"), key=str)


def _read(store: Store, path: UPath) -> Release | None:
    """A release, or None if it was dropped just now."""
    payload = store.read_note(_place(path.stem))
    return None if payload is None else _parse(payload, path)


def _sealed(table: dict[str, Any]) -> dict[str, Any]:
    """With a hash of all else, so that a name that was altered is not taken for one that was given."""
    return {**table, "own_hash": digest(table)}


def _parse(payload: bytes, path: UPath) -> Release:
    try:
        table = json.loads(payload)
        seal = table.pop("own_hash", None)
        pinned = {
            variant: PinnedDomains(**{**each, "used": tuple(each["used"])}) for variant, each in table["pinned"].items()
        }
        release = Release(**{**table, "pinned": pinned})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _broken(path, "is not a whole release") from None
    # Releases that were pinned before they were sealed are taken as they are.
    if seal is not None and seal != digest(table):
        raise _broken(path, "does not match its own hash")
    if release.name != path.stem:
        raise _broken(path, f"is release {release.name}")
    return release


def _broken(path: UPath, problem: str) -> ArtifactError:
    return ArtifactError(str(path), problem, remedy="put back a copy of it, or delete it and pin again")


def _place(name: str) -> str:
    return f"{_FOLDER}/{name}.json"

"""Why an asset could not be made of what it was given: a note beside the artifacts, until it can.

A refusal is no artifact and takes none's place: what was in force stays in force, and whoever reads it asks for the
refusal, too. It lets a donor whose files cannot be used be left out by name, instead of holding everybody back.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from upath import UPath

    from stalign_core.store.store import Store

_NOTE: Final = "refused.json"


@dataclass(frozen=True)
class Refusal:
    """The last attempt failed: of which input key it was (empty: not even that could be told), and why, in one line."""

    input_key: str
    line: str


def refuse(store: Store, asset: str, partition: str, refusal: Refusal) -> None:
    """Note that an asset cannot be made for a partition.

    Raises
    ------
    OSError
        If the store cannot be written.
    """
    note = _place(store, asset, partition)
    text = json.dumps(asdict(refusal))
    if not store.is_local:
        note.write_text(text, encoding="utf-8")
        return
    path = Path(note.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_NOTE}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refusal_of(store: Store, asset: str, partition: str) -> Refusal | None:
    """The refusal that stands, if one does; of a note that is not whole nothing but that can be told."""
    note = _place(store, asset, partition)
    try:
        return Refusal(**json.loads(note.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        return Refusal("", f"{note} is not whole")


def lift_refusal(store: Store, asset: str, partition: str) -> None:
    """Forget the refusal: the asset was made after all."""
    with suppress(FileNotFoundError, NotADirectoryError):
        _place(store, asset, partition).unlink()


def _place(store: Store, asset: str, partition: str) -> UPath:
    return store.base / asset / partition / _NOTE

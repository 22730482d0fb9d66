"""Why an asset could not be made of what it was given: a note beside the artifacts, until it can.

A refusal is no artifact and takes none's place: what was in force stays in force, and whoever reads it asks for the
refusal, too. It lets a donor whose files cannot be used be left out by name, instead of holding everybody back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    OSError, StoreError
        If the store cannot be written.
    """
    store.write_note(_place(asset, partition), json.dumps(asdict(refusal)).encode())


def refusal_of(store: Store, asset: str, partition: str) -> Refusal | None:
    """The refusal that stands, if one does; of a note that is not whole nothing but that can be told."""
    note = store.read_note(_place(asset, partition))
    if note is None:
        return None
    try:
        return Refusal(**json.loads(note))
    except (ValueError, TypeError):
        return Refusal("", f"{store.base / _place(asset, partition)} is not whole")


def lift_refusal(store: Store, asset: str, partition: str) -> None:
    """Forget the refusal: the asset was made after all."""
    store.remove_note(_place(asset, partition))


def _place(asset: str, partition: str) -> str:
    return f"{asset}/{partition}/{_NOTE}"

"""Bytes that are not those that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from stalign_assets.doctor.examination import examine
from stalign_core.errors import ArtifactError
from tests.reliability.place import Place, carry_out, make, partition_of, rewrite

DAMAGES: Final[dict[str, Callable[[bytes, bytes], bytes]]] = {
    "truncated": lambda whole, _: whole[: len(whole) // 2],
    "bit-flipped": lambda whole, _: (
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
    ),
    "empty": lambda *_: b"",
    "swapped": lambda _, other: other,
}


def damaged_artifact(place: Place, asset: str, damage: str) -> None:
    partition = partition_of(place.study, asset)
    path, other = place.file_of(asset, partition), place.file_of("raw_samples", "P02", ".parquet")
    name = path.relative_to(place.current(asset, partition).folder.path)
    rewrite(path, DAMAGES[damage](path.read_bytes(), other.read_bytes()))
    with pytest.raises(ArtifactError, match="stalign run"):
        place.current(asset, partition).verify()
    broken = path.read_bytes()
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)
    (aside,) = place.study.store.set_aside()
    assert (Path(aside.path) / name).read_bytes() == broken


def damaged_manifest(place: Place, asset: str, damage: str) -> None:
    partition = partition_of(place.study, asset)
    path = Path(place.current(asset, partition).folder.path) / "manifest.json"
    other = Path(place.current("gene_statistics", "P02").folder.path) / "manifest.json"
    rewrite(path, DAMAGES[damage](path.read_bytes(), other.read_bytes()))
    with pytest.raises(ArtifactError):
        place.current(asset, partition)
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)


def damaged_pointer(place: Place, asset: str, damage: str, cure: str) -> None:
    partition = partition_of(place.study, asset)
    folder = Path(place.study.store.base.path)
    path, other = folder / asset / partition / "current.json", folder / "gene_statistics" / "P02" / "current.json"
    whole = path.read_bytes()
    key = whole.index(b'"input_key": "') + 14
    payload = DAMAGES[damage](whole, other.read_bytes())
    if damage == "bit-flipped":
        payload = whole[:key] + bytes([whole[key] ^ 1]) + whole[key + 1 :]
    rewrite(path, payload)
    with pytest.raises(ArtifactError):
        place.current(asset, partition)
    if cure == "doctor":
        assert [told.outcome for told in examine(place.study, repair=True)] == ["repaired"]
    else:
        assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)

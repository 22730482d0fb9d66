"""Logical hashes: equal content gives equal hashes, any change of content another one."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from stalign_core.store import fingerprints
from stalign_core.store.fingerprints import Fingerprints, KnownFingerprints, UnknownFileError, stamp_of
from stalign_core.store.hashing import anndata_hash, arrays_hash, digest, table_hash


def table() -> pd.DataFrame:
    return pd.DataFrame({"barcode": ["a", "bc"], "label": ["L1", None], "n": [1, 2], "x": [0.5, np.nan]})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(barcode=["ab", "c"]),
        lambda t: t.assign(label=["L1", ""]),
        lambda t: t.assign(n=[1, 3]),
        lambda t: t.assign(x=[0.5, 0.0]),
        lambda t: t.rename(columns={"n": "m"}),
        lambda t: t.iloc[::-1],
        lambda t: t.astype({"n": "int32"}),
    ],
)
def test_any_change_of_a_table_changes_its_hash(change: object) -> None:
    assert table_hash(change(table())) != table_hash(table())  # type: ignore[operator]


def test_the_index_and_the_kind_of_text_column_do_not_count() -> None:
    same = table().set_index(pd.Index([7, 9])).astype({"label": "category"})
    assert table_hash(same) == table_hash(table())


def test_shape_and_dtype_of_arrays_count() -> None:
    hashes = {
        arrays_hash({"x": np.zeros((2, 3), dtype=np.float32)}),
        arrays_hash({"x": np.zeros((3, 2), dtype=np.float32)}),
        arrays_hash({"x": np.zeros((2, 3), dtype=np.float64)}),
        arrays_hash({"y": np.zeros((2, 3), dtype=np.float32)}),
    }
    assert len(hashes) == 4


def test_counts_hash_alike_however_they_are_stored() -> None:
    dense = np.array([[0, 2], [3, 0]])
    frames = {"obs": pd.DataFrame(index=["a", "b"]), "var": pd.DataFrame(index=["g", "h"])}
    first = anndata.AnnData(csr_matrix(dense.astype(np.int32)), **frames)
    second = anndata.AnnData(csr_matrix(dense.astype(np.float32)), **frames)
    assert anndata_hash(first) == anndata_hash(second)
    third = anndata.AnnData(csr_matrix(dense.T.copy().astype(np.int32)), **frames)
    assert anndata_hash(third) != anndata_hash(first)


def test_the_order_of_settings_does_not_count() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [2, 1]}) != digest({"b": [1, 2]})


def test_a_fingerprint_follows_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    path.write_bytes(b"one")
    fingerprints = Fingerprints(tmp_path / "cache.json")
    first = fingerprints.record(path).sha256
    path.write_bytes(b"three")
    assert fingerprints.record(path).sha256 != first


def test_fingerprints_survive_a_damaged_cache(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    path.write_bytes(b"one")
    first = Fingerprints(tmp_path / "cache.json").record(path)
    (tmp_path / "cache.json").write_text("{")
    assert Fingerprints(tmp_path / "cache.json").record(path) == first


def test_a_folders_fingerprint_follows_content_and_names_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "store.zarr"
    (folder / "table").mkdir(parents=True)
    (folder / "table" / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"two")
    fingerprints = Fingerprints(tmp_path / "known.json")
    before = fingerprints.record(folder)
    assert before.size == 6
    assert fingerprints.record(folder) == before
    (folder / "b").rename(folder / "c")
    renamed = fingerprints.record(folder)
    assert renamed.sha256 != before.sha256
    (folder / "c").rename(folder / "b")
    assert fingerprints.record(folder) == before
    (folder / "table" / "a").write_bytes(b"eno")
    assert fingerprints.record(folder).sha256 != before.sha256


def test_fingerprints_that_two_processes_keep_are_both_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one")
    second.write_text("two")
    one, other = Fingerprints(tmp_path / "cache.json"), Fingerprints(tmp_path / "cache.json")
    records = [one.record(first), other.record(second)]
    known = KnownFingerprints(tmp_path / "cache.json")
    assert [known.record(first), known.record(second)] == records


def test_known_fingerprints_read_no_file_and_refuse_what_they_do_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "slide.tif"
    file.write_bytes(b"one")
    record = Fingerprints(tmp_path / "cache.json").record(file)
    monkeypatch.setattr(fingerprints, "file_sha256", None)
    assert KnownFingerprints(tmp_path / "cache.json").record(file) == record
    file.write_bytes(b"longer")
    with pytest.raises(UnknownFileError, match=r"slide\.tif: is new or has changed"):
        KnownFingerprints(tmp_path / "cache.json").record(file)


def test_a_stamp_changes_with_a_file_or_anything_below_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "store.zarr"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "0").write_bytes(b"one")
    stamps = [stamp_of(folder), stamp_of(folder / "a" / "0")]
    assert stamps == [stamp_of(folder), stamp_of(folder / "a" / "0")]
    (folder / "a" / "0").write_bytes(b"three")
    assert [stamp_of(folder), stamp_of(folder / "a" / "0")] != stamps
    (folder / "a" / "1").write_bytes(b"")
    assert len({stamps[0], stamp_of(folder)}) == 2
    assert stamp_of(tmp_path / "gone") == "No such file or directory"

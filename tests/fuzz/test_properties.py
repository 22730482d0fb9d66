"""Whatever a file holds, a reader gives a value or refuses it in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stalign_assets.measure import Measure
from stalign_core.errors import StalignError
from tests.fuzz.isolated import NATIVE, Isolated, judge_as_a_study_reads
from tests.fuzz.targets import TARGETS, Target

MANY = settings(max_examples=60, deadline=60_000, suppress_health_check=list(HealthCheck), derandomize=True)
MOST_MEMORY = 2**28
SEEDS = {name: target.seeds() for name, target in TARGETS.items()}

cells = st.text(max_size=12) | st.sampled_from(["S1", "D1", "../x", "/", ".", "\x00/x", "a" * 5000, '"', "x.h5ad"])
numbers = st.sampled_from(["1", "-1", "1.5", "nan", "inf", "1e308", "1e400", "", "x", "9" * 30, "0x10"])


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    with Isolated(seconds=20) as process:
        yield process


@contextmanager
def little_memory() -> Iterator[None]:
    """What happens within takes no more memory than a file of some kilobytes may."""
    with Measure() as measure:
        yield
    grown = measure.peak_memory_bytes - measure.memory_at_start_bytes
    assert grown < MOST_MEMORY, f"reading took {grown} bytes of memory"


def take(name: str, payload: bytes) -> None:
    target: Target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder, little_memory():
        try:
            target.take(payload, Path(folder))
        except StalignError as error:
            assert error.line == " ".join(error.line.split())


def altered(name: str, data: st.DataObject) -> bytes:
    payload = bytearray(data.draw(st.sampled_from(SEEDS[name])))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(payload) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "repeat", "insert"]))
        if change == "set":
            payload[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del payload[place : place + data.draw(st.integers(1, 64))]
        elif change == "repeat":
            payload[place:place] = payload[place : place + 32]
        else:
            payload[place:place] = data.draw(st.binary(max_size=8))
        payload = payload or bytearray(b"\n")
    return bytes(payload)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in NATIVE])
@MANY
@given(data=st.data())
def test_altered_bytes(name: str, data: st.DataObject) -> None:
    take(name, altered(name, data))


@pytest.mark.parametrize("name", NATIVE)
@MANY
@given(data=st.data())
def test_altered_bytes_of_native_formats(name: str, isolated: Isolated, data: st.DataObject) -> None:
    """A file from which the library does not come back is one that the look before reading refuses."""
    judge_as_a_study_reads(isolated, name, altered(name, data))


@MANY
@given(rows=st.lists(st.lists(cells, min_size=3, max_size=7), min_size=1, max_size=5))
def test_sheets_of_any_cells(rows: list[list[str]]) -> None:
    header = ["sample", "donor", "path", "image", "annotation", "retired", "condition"]
    lines = [header[: len(rows[0])], *rows]
    text = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    take("sheet", text.encode("utf-8", "surrogatepass"))


values = st.recursive(
    st.integers() | st.floats(allow_nan=True) | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = [
    "seed",
    "store",
    "input",
    "expression",
    "morphology",
    "variants",
    "encoders",
    "domains",
    "aestetik",
    "execution",
]


@MANY
@given(table=st.dictionaries(st.sampled_from(SECTIONS) | st.text(max_size=8), values, max_size=5))
def test_settings_of_any_values(table: dict[str, object]) -> None:
    import tomlkit

    try:
        text = tomlkit.dumps(table)
    except Exception:
        return  # not every value can be written as TOML
    take("settings", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("settings", b"a = " + b"[" * 100_000),
        ("settings", b"seed = " + b"9" * 5000),
        ("settings", b"a = 2020-13-45\n"),
        ("scale_factors", b"[" * 100_000),
        ("scale_factors", b'{"spot_diameter_fullres": ' + b"9" * 5000 + b"}"),
        ("sheet", b"sample,donor,path\nS1,D1,a\x00/b\n"),
        ("sheet", b"sample,donor,path\nS1,D1," + b"a" * 300 + b"/x\n"),
        ("sheet", b"sample,donor,path\nS1,D1," + b"a/" * 3000 + b"x\n"),
        ("sheet", b'sample,donor,path\nS1,D1,"' + b"a" * 200_000 + b"\n"),
        ("matrix_market", b"%%MatrixMarket matrix coordinate integer general\n2 9000000000 1\n1 1 1\n"),
        ("matrix_market", b"%%MatrixMarket matrix coordinate integer general\n2 2 1\n3 3 1\n"),
        ("matrix_market", b"%%MatrixMarket matrix coordinate integer general\n-1 -1 -1\n"),
        ("positions", b"A-1,1,1e400,2,3,4\n"),
        ("positions", b"A-1,1,99999999999999999999,2,3,4\n"),
        ("positions", b""),
    ],
)
def test_what_once_ended_a_reader_or_was_likely_to(name: str, payload: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, little_memory(), pytest.raises(StalignError) as error:
        TARGETS[name].take(payload, Path(folder))
    assert "\n" not in error.value.line


def test_memory_beyond_the_bound_is_noticed() -> None:
    with pytest.raises(AssertionError, match="bytes of memory"), little_memory():
        b"x" * (MOST_MEMORY + 2**24)


def test_a_matrix_that_declares_a_terabyte_and_holds_nothing_is_refused_at_once() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(StalignError, match="are stored"):
        TARGETS["tenx_h5"].take(SEEDS["tenx_h5"][-1], Path(folder))

"""Every error says what was expected, or what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assets.error_words import mute_errors

ROOT = Path(__file__).resolve().parents[2]

_CLASSES = "class StalignError(Exception): ...\nclass OneError(StalignError): ...\nclass TwoError(OneError): ...\n"


def test_every_error_says_what_to_do_next() -> None:
    paths = [path for package in ("stalign_core", "stalign_assets") for path in (ROOT / package).rglob("*.py")]
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    assert sum(text.count("Error(") for text in sources.values()) > 250
    assert mute_errors(sources) == []


@pytest.mark.parametrize(
    "source",
    [
        'raise TwoError("a", "b")',
        'raise errors.OneError("a", "b")',
        'fault = StalignError("a", "b")\nraise fault',
        'raise OneError("a", "b", remedy="")',
        'raise OneError("a", "b", remedy="c" if found else "")',
        'def made(kind: type[StalignError]):\n    return kind("a", "b")',
        'def made(where):\n    return OneError(where, "b")\nraise made("a")',
        'def made(where, *, remedy=""):\n    return OneError(where, "b", remedy=remedy)\nraise made("a")',
        'def made(where, remedy=""):\n    return OneError(where, "b", remedy=remedy)\nraise made("a", "")',
        'def inner(*, expected=""):\n    return OneError("a", "b", expected=expected)\n'
        'def outer(expected=""):\n    return inner(expected=expected)\nraise outer()',
    ],
)
def test_an_error_that_says_neither_is_found(source: str) -> None:
    assert len(mute_errors({"errors": _CLASSES, "module": source})) == 1


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError("a", "b")',
        'raise TwoError("a", "b", expected="c")',
        'raise OneError("a", "b", remedy="c" if found else "d")',
        'def made(kind: type[StalignError]):\n    return kind("a", "b", remedy="c")',
        'def made(where, *, remedy=""):\n    return OneError(where, "b", remedy=remedy)\nraise made("a", remedy="c")',
        'def made(where, remedy=""):\n    return OneError(where, "b", remedy=remedy)\nraise made("a", "c")',
        'def made(where, remedy=""):\n    return OneError(where, "b", expected="c", remedy=remedy)\nraise made("a")',
    ],
)
def test_an_error_that_says_either_is_not(source: str) -> None:
    assert mute_errors({"errors": _CLASSES, "module": source}) == []

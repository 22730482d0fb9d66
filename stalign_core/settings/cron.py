"""Times that a study's settings name: cron expressions of five fields, and time zones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class _Field:
    """One field of a cron expression: its numbers, and the names that stand for them."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def cron_fault(text: str) -> str:
    """What is wrong with a cron expression, to follow its name; empty if it can stand.

    Five fields, each ``*``, a number, a name, a range or a list of them, with a step or without.
    """
    words = text.split()
    if len(words) != len(_FIELDS):
        return f"has {len(words)} fields instead of five"
    numbers = []
    for word, field in zip(words, _FIELDS, strict=True):
        found = _numbers_of(word, field)
        if not found:
            return f"has '{word}' as its {field.name}"
        numbers.append(found)
    _, _, days, months, _ = numbers
    if not any(day <= _LONGEST_MONTHS[month - 1] for day in days for month in months):
        return "names a day that no month of it has"
    return ""


def is_timezone(name: str) -> bool:
    """Whether this machine knows a time zone of this name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _numbers_of(word: str, field: _Field) -> set[int]:
    """Every number that a field means; none if it cannot be read."""
    numbers: set[int] = set()
    for item in word.lower().split(","):
        span, slash, step = item.partition("/")
        first, last = _span_of(span, field)
        width = _number(step, _Field("step", 1, field.most)) if slash else 1
        # A step counts through a span: cron programs do not agree on what it means after one number.
        if first is None or last is None or width is None or first > last or (slash and first == last):
            return set()
        numbers.update(range(first, last + 1, width))
    return numbers


def _span_of(span: str, field: _Field) -> tuple[int | None, int | None]:
    if span == "*":
        return field.least, field.most
    first, dash, last = span.partition("-")
    return _number(first, field), _number(last if dash else first, field)


def _number(word: str, field: _Field) -> int | None:
    if word in field.names:
        return field.least + field.names.index(word)
    if not (word.isascii() and word.isdigit() and len(word) <= 2):
        return None
    number = int(word)
    return number if field.least <= number <= field.most else None

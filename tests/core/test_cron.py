"""Cron expressions: what the settings accept, Dagster's scheduler accepts, too."""

from __future__ import annotations

from itertools import product

import pytest
from dagster._utils.schedules import is_valid_cron_string

from stalign_core.errors import SettingsError
from stalign_core.settings import parse_settings
from stalign_core.settings.cron import cron_fault, is_timezone

WORDS = (
    ("*", "0", "59", "60", "*/5", "1-5", "5-1", "1,2", "1-5/2", "5/2"),
    ("*", "23", "24", "0-6"),
    ("*", "1", "31", "0", "30", "29"),
    ("*", "2", "feb", "13", "4", "2,4", "1-12/3"),
    ("*", "7", "mon", "mon-fri", "8", "fri-mon"),
)


def test_what_is_accepted_dagster_accepts_too() -> None:
    accepted = [text for words in product(*WORDS) if not cron_fault(text := " ".join(words))]
    assert len(accepted) > 1000
    assert [text for text in accepted if not is_valid_cron_string(text)] == []


@pytest.mark.parametrize("text", ["0 3 * * *", "*/15 0-6 * * mon-fri", "30 2 1,15 * *", "0 0 29 2 *", "0 22 * * 7"])
def test_usual_expressions_are_accepted(text: str) -> None:
    assert cron_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("3 o'clock", "has 2 fields instead of five"),
        ("0 3 * * * *", "has 6 fields instead of five"),
        ("60 3 * * *", "has '60' as its minute"),
        ("0 24 * * *", "has '24' as its hour"),
        ("0 3 0 * *", "has '0' as its day of month"),
        ("0 3 * 13 *", "has '13' as its month"),
        ("0 3 * * funday", "has 'funday' as its day of week"),
        ("0 5-1 * * *", "has '5-1' as its hour"),
        ("0 */0 * * *", "has '*/0' as its hour"),
        ("0 3, * * *", "has '3,' as its hour"),
        ("0 3 30 2 *", "names a day that no month of it has"),
        ("0 3 31 apr,jun *", "names a day that no month of it has"),
    ],
)
def test_a_fault_is_named(text: str, fault: str) -> None:
    assert cron_fault(text) == fault


def test_time_zones_are_those_of_this_machine() -> None:
    assert is_timezone("UTC") and is_timezone("Europe/Zurich")
    assert not any(is_timezone(name) for name in ("", "Mars/Olympus", "../etc/passwd", "/etc/localtime"))


@pytest.mark.parametrize(
    ("automation", "line"),
    [
        (
            {"integrate_at": "3am"},
            "automation.integrate_at: is '3am', which has 1 fields instead of five; "
            "expected five fields such as '0 3 * * *', at three each night",
        ),
        ({"timezone": "Bern"}, "automation.timezone: is 'Bern', which is no time zone; expected UTC"),
        ({"watch_seconds": 0}, "automation.watch_seconds: is 0; expected a number greater than 0"),
    ],
)
def test_settings_of_automation_are_checked_in_one_line(automation: dict[str, object], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings({"automation": automation})
    assert line in caught.value.line


def test_never_is_an_empty_text() -> None:
    assert parse_settings({"automation": {"integrate_at": ""}}).automation.integrate_at == ""

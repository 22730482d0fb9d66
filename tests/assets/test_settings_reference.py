"""``docs/settings.md`` tells of the settings as they are.

Renew it with ``STALIGN_RENEW_SNAPSHOTS=1 .venv/bin/python -m pytest tests/assets/test_settings_reference.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

from stalign_assets.settings_reference import settings_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_of_today() -> None:
    if os.environ.get("STALIGN_RENEW_SNAPSHOTS"):
        PAGE.write_text(settings_reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == settings_reference()


def test_every_setting_is_told_with_a_meaning() -> None:
    rows = [line for line in settings_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert "| `window` | `5` |" in settings_reference()
    silent = [row for row in rows if row.rstrip().endswith("|  |")]
    assert silent == []

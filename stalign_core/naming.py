"""Names of donors, samples and variants: they become partition keys and file names."""

from __future__ import annotations

import re
from typing import Final

NAME_RULE: Final = "up to 64 letters of A to Z, digits and _ . -, the first a letter or digit, without '..'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_safe_name(name: str) -> bool:
    """Whether `name` can be a partition key and a file name everywhere."""
    return _NAME.fullmatch(name) is not None and ".." not in name

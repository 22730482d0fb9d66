"""Why an artifact is not what would be made now: what differs, thing by thing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_core.store.hashing import canonical_json
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.wanted import Wanted
    from stalign_core.store import InputRecord, Manifest

_MOST_NAMED: Final = 4
_BROUGHT_ALONG: Final = {"release": ("input_key", "names", "used")}
"""Settings that follow from another one, which says enough of them."""


def differences(want: Wanted, code_version: int, manifest: Manifest) -> list[str]:
    """What of an artifact's making is not as it would be now, in words: code, settings, seed, raw files, inputs."""
    found = differences_of_making(manifest, code_version, want.settings, want.seed)
    before, now = ({record.path: record.sha256 for record in each.sources} for each in (manifest, want))
    if sorted(before.values()) != sorted(now.values()):
        found += _some(list(_changed_names(before, now, "raw file {}", lambda path: Path(path).name)))
    found += _changed_inputs(want, manifest)
    return found


def differences_of_making(manifest: Manifest, code_version: int, settings: Mapping[str, Any], seed: int) -> list[str]:
    """What of the code, the settings and the seed that made an artifact is not as it is now, in words."""
    found = []
    if manifest.code_version != code_version:
        found.append(f"code version {manifest.code_version} -> {code_version}")
    if manifest.seed != seed:
        found.append(f"seed {manifest.seed} -> {seed}")
    return found + _some(list(_changed_settings(manifest.settings, json.loads(canonical_json(settings)))))


def _changed_settings(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = {*before, *now}
        for key, others in _BROUGHT_ALONG.items():
            if before.get(key) != now.get(key):
                keys.difference_update(others)
        for key in sorted(keys):
            yield from _changed_settings(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} {_shown(before)} -> {_shown(now)}"


def _changed_inputs(want: Wanted, manifest: Manifest) -> list[str]:
    """Inputs by asset: which donors came, left, or have other content."""
    found = []
    before, now = _used_by_place(manifest.inputs), _used_by_place(want.input_records)
    donors_before, donors_now = set(manifest.donors), set(want.donors)
    for verb, names in (("came", donors_now - donors_before), ("left", donors_before - donors_now)):
        if names:
            found.append(f"{', '.join(_some(sorted(names)))} {verb}")
    changed: dict[str, list[str]] = {}
    for asset, partition in sorted({*before, *now}):
        of_both = partition == UNPARTITIONED or partition in donors_before & donors_now
        if of_both and _is_other(before.get((asset, partition), []), now.get((asset, partition), [])):
            changed.setdefault(asset, []).append(partition)
    for asset, partitions in changed.items():
        of = "" if partitions == [UNPARTITIONED] else f" of {', '.join(_some(partitions))}"
        found.append(f"{asset}{of} has other content")
    return found


def _used_by_place(records: Iterable[InputRecord]) -> dict[tuple[str, str], list[str]]:
    """An asset may be read in two states: the one in force, and a pinned one."""
    used: dict[tuple[str, str], list[str]] = {}
    for record in records:
        used.setdefault((record.asset, record.partition), []).append(record.used)
    return used


def _is_other(before: list[str], now: list[str]) -> bool:
    """Whether what was read changed, and not only that a second state of it, a pinned one, came or went."""
    if len(before) == len(now) or not (before and now):
        return before != now
    return not (set(before) <= set(now) or set(now) <= set(before))


def _changed_names(before: Mapping[str, str], now: Mapping[str, str], form: str, short: Any) -> Iterator[str]:
    for path in sorted({*before, *now}):
        if path not in now:
            yield f"{form.format(short(path))} is gone"
        elif path not in before:
            yield f"{form.format(short(path))} is new"
        elif before[path] != now[path]:
            yield f"{form.format(short(path))} changed"


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST_NAMED:
        return lines
    return [*lines[:_MOST_NAMED], f"{len(lines) - _MOST_NAMED} more"]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "unset" if value is None else "none"
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

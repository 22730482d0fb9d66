"""Partitions are registered once, however many processes do it at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from sqlalchemy.exc import IntegrityError

from stalign_assets.platform.partitions import register_donors


def test_donors_that_another_process_registers_meanwhile_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        add = instance.add_dynamic_partitions
        overtaken: list[bool] = []

        def overtake(partitions: str, keys: Sequence[str]) -> Any:
            if not overtaken:
                overtaken.append(True)
                add(partitions, ["P01"])
                raise IntegrityError("insert", None, Exception("UNIQUE constraint failed"))
            return add(partitions, keys)

        monkeypatch.setattr(instance, "add_dynamic_partitions", overtake)
        assert register_donors(instance, ["P01", "P02"]) == ["P02"]
        assert sorted(instance.get_dynamic_partitions("donors")) == ["P01", "P02"]
        assert register_donors(instance, ["P01", "P02"]) == []

"""Donors as Dagster partitions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dagster as dg

DONORS: Final = dg.DynamicPartitionsDefinition(name="donors")
"""One partition per donor of the sample sheet. Keys are safe names: the sheet refuses others."""


def register_donors(instance: dg.DagsterInstance, donors: Iterable[str]) -> list[str]:
    """Add the donors that have no partition yet; returns those added. None is ever removed here."""
    known = set(instance.get_dynamic_partitions("donors"))
    new = [donor for donor in donors if donor not in known]
    if new:
        instance.add_dynamic_partitions("donors", new)
    return new

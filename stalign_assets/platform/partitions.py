"""Donors, and outer folds of the benchmark, as Dagster partitions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dagster as dg
from sqlalchemy.exc import IntegrityError

from stalign_assets.recipes.recipe import Partitioning

DONORS: Final = dg.DynamicPartitionsDefinition(name="donors")
"""One partition per donor of the sample sheet. Keys are safe names: the sheet refuses others."""

FOLDS: Final = dg.DynamicPartitionsDefinition(name="folds")
"""One partition per outer fold of the benchmark."""


def partitions_of(partitioning: Partitioning) -> dg.DynamicPartitionsDefinition | None:
    """The partitions of an asset."""
    return {"donor": DONORS, "fold": FOLDS, "none": None}[partitioning]


def register_folds(instance: dg.DagsterInstance, folds: Iterable[str]) -> None:
    """Add the folds that have no partition yet."""
    _register(instance, "folds", list(folds))


def register_donors(instance: dg.DagsterInstance, donors: Iterable[str]) -> list[str]:
    """Add the donors that have no partition yet; returns those added. None is ever removed here."""
    return _register(instance, "donors", list(donors))


def _register(instance: dg.DagsterInstance, partitions: str, names: list[str]) -> list[str]:
    """Add what is missing; another process may do the same at the same moment, of which the database complains."""
    added: list[str] = []
    while True:
        known = set(instance.get_dynamic_partitions(partitions))
        new = [name for name in names if name not in known]
        if not new:
            return added
        try:
            instance.add_dynamic_partitions(partitions, new)
        except IntegrityError:
            continue
        added += new

"""Donors, and outer folds of the benchmark, as Dagster partitions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dagster as dg

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
    known = set(instance.get_dynamic_partitions("folds"))
    new = [fold for fold in folds if fold not in known]
    if new:
        instance.add_dynamic_partitions("folds", new)


def register_donors(instance: dg.DagsterInstance, donors: Iterable[str]) -> list[str]:
    """Add the donors that have no partition yet; returns those added. None is ever removed here."""
    known = set(instance.get_dynamic_partitions("donors"))
    new = [donor for donor in donors if donor not in known]
    if new:
        instance.add_dynamic_partitions("donors", new)
    return new

"""How many domains to look for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from stalign_core.domains.annotation import IGNORED_LABELS, distinct_labels
from stalign_core.errors import SettingsError

_SETTING = "domains.n_domains"


def resolve_n_domains(
    requested: int | Literal["annotation"],
    labels: Any,
    *,
    partition: str,
    ignored_labels: Collection[str] = IGNORED_LABELS,
) -> int:
    """K for one partition: as given, or the number of distinct labels of its spots.

    Parameters
    ----------
    requested
        `Settings.n_domains_of(partition)`: a number, or ``"annotation"``.
    labels
        (n_spots,) expert labels of every spot of the partition, missing ones included.
    partition
        The donor, or ``"cohort"``: named in messages.
    ignored_labels
        Labels that are not counted.

    Raises
    ------
    SettingsError
        If the annotation is asked for and there is none, or K exceeds the spots.
    """
    if requested == "annotation":
        n_domains = len(distinct_labels(labels, ignored_labels))
        if n_domains == 0:
            raise SettingsError(
                _SETTING,
                f"is 'annotation', but no spot of '{partition}' is annotated",
                remedy=f"give a number: {_SETTING} in study.toml, or --n-domains",
            )
    else:
        n_domains = requested
    check_n_domains(n_domains, len(labels), partition=partition)
    return n_domains


def check_n_domains(n_domains: int, n_spots: int, *, partition: str = "") -> None:
    """Refuse a K that no clustering of `n_spots` spots can have.

    Raises
    ------
    SettingsError
        If K is below 1 or above the number of spots.
    """
    if 1 <= n_domains <= n_spots:
        return
    of_partition = f" of '{partition}'" if partition else ""
    raise SettingsError(
        _SETTING,
        f"is {n_domains}, which {n_spots} spots{of_partition} cannot be divided into",
        expected=f"a number from 1 to {n_spots}",
        remedy=f"change {_SETTING} in study.toml, or --n-domains",
    )

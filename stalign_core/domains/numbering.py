"""Names of domains that a rerun repeats."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt


def domain_names(
    clusters: npt.NDArray[np.integer[Any]], spot_names: npt.NDArray[Any], *, donor: str = ""
) -> dict[int, str]:
    """Name clusters by what they hold: "1" is the largest.

    Clusters of one size are ordered by the spot name that sorts first in each. Neither the ids that a clusterer happens
    to give nor the order of the spots plays a part.

    Parameters
    ----------
    clusters
        (n_spots,) cluster ids.
    spot_names
        (n_spots,) names that are unique in the partition, such as ``<sample>_<barcode>``.
    donor
        In donor scope, the donor: it becomes a prefix, because domains of two donors cannot be compared.

    Returns
    -------
    The name of each cluster id: ``"1"``, ``"2"``, ..., or ``"<donor>:1"``, ...
    """
    by_name = np.argsort(np.asarray(spot_names).astype(str), kind="stable")
    ids, first, sizes = np.unique(clusters[by_name], return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    prefix = f"{donor}:" if donor else ""
    return {int(ids[position]): f"{prefix}{rank}" for rank, position in enumerate(order, start=1)}


def rename(clusters: npt.NDArray[np.integer[Any]], names: dict[int, str]) -> npt.NDArray[np.object_]:
    """Replace cluster ids by their names: (n_spots,) of str."""
    ids, codes = np.unique(clusters, return_inverse=True)
    return np.array([names[int(cluster_id)] for cluster_id in ids], dtype=object)[codes]


def natural_order(name: str) -> str:
    """Sort key by which domain 10 comes after domain 9, and section_10 after section_9."""
    return re.sub(r"[0-9]+", lambda number: number.group().zfill(12), name)

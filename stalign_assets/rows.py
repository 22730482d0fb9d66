"""Rows of many samples, stacked in one order everywhere: donors as given, samples by name, spots as read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stalign_core.store import Artifact

Array = np.ndarray[Any, Any]


def samples_of(raw: Artifact) -> list[str]:
    """Samples of a donor's raw_samples, by name."""
    return sorted(raw.manifest.summary["samples"])


@dataclass(frozen=True)
class Rows:
    """Which spots a stack of several donors' samples holds, in which order.

    Attributes
    ----------
    donor, sample, barcode
        One entry per spot, (n_spots,) object.
    spans
        Per donor and sample, the slice of its spots.
    """

    donor: Array
    sample: Array
    barcode: Array
    spans: Mapping[tuple[str, str], slice]

    @property
    def names(self) -> Array:
        """Unique spot names, ``<sample>_<barcode>``."""
        return np.array(
            [f"{sample}_{barcode}" for sample, barcode in zip(self.sample, self.barcode, strict=True)], dtype=object
        )

    @property
    def sample_codes(self) -> Array:
        """Samples as integers in order of appearance, (n_spots,) int64."""
        return pd.factorize(self.sample)[0].astype(np.int64)

    @property
    def donor_codes(self) -> Array:
        """Donors as integers in order of appearance, (n_spots,) int64."""
        return pd.factorize(self.donor)[0].astype(np.int64)

    def stack(self, per_donor: Mapping[str, Mapping[str, Array]], prefix: str = "") -> Array:
        """Stack arrays found under ``<prefix><sample>`` of each donor."""
        return np.concatenate([per_donor[donor][f"{prefix}{sample}"] for donor, sample in self.spans])

    def split(self, stacked: Array, prefix: str = "") -> dict[str, dict[str, Array]]:
        """Undo `stack`."""
        per_donor: dict[str, dict[str, Array]] = {}
        for (donor, sample), span in self.spans.items():
            per_donor.setdefault(donor, {})[f"{prefix}{sample}"] = stacked[span]
        return per_donor

    def each_sample(self) -> Iterator[tuple[str, slice]]:
        """Samples and their spans."""
        for (_, sample), span in self.spans.items():
            yield sample, span


def rows_of(raw: Mapping[str, Artifact], donors: Sequence[str]) -> Rows:
    """The spots of these donors, from their raw_samples."""
    donor_names: list[Array] = []
    sample_names: list[Array] = []
    barcodes: list[Array] = []
    spans: dict[tuple[str, str], slice] = {}
    start = 0
    for donor in donors:
        for sample in samples_of(raw[donor]):
            barcode = raw[donor].table(f"{sample}.spots.parquet")["barcode"].to_numpy(dtype=object)
            spans[donor, sample] = slice(start, start + len(barcode))
            start += len(barcode)
            donor_names.append(np.full(len(barcode), donor, dtype=object))
            sample_names.append(np.full(len(barcode), sample, dtype=object))
            barcodes.append(barcode)
    return Rows(np.concatenate(donor_names), np.concatenate(sample_names), np.concatenate(barcodes), spans)


def labels_of(raw: Mapping[str, Artifact], rows: Rows) -> Array:
    """Expert labels of the spots, missing as None, (n_spots,) object."""
    return np.concatenate(
        [raw[donor].table(f"{sample}.labels.parquet")["label"].to_numpy(dtype=object) for donor, sample in rows.spans]
    )

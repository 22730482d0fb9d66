from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stalign_core.domains import distinct_labels, is_annotated, resolve_n_domains
from stalign_core.errors import SettingsError

_LABELS = np.array(["L1", None, "L2", "undetermined", "L1", float("nan"), "", pd.NA], dtype=object)


def test_a_label_counts_unless_missing_or_ignored() -> None:
    assert is_annotated(_LABELS).tolist() == [True, False, True, False, True, False, False, False]
    assert distinct_labels(_LABELS) == ["L1", "L2"]


def test_the_ignored_labels_can_be_chosen() -> None:
    assert distinct_labels(_LABELS, ignored_labels=["L2"]) == ["L1", "undetermined"]


@pytest.mark.parametrize(
    "labels", [pd.Series(["a", None, "b"], dtype="string"), pd.Categorical(["a", None, "b"]), ["a", None, "b"]]
)
def test_every_form_of_labels_is_understood(labels: object) -> None:
    assert is_annotated(labels).tolist() == [True, False, True]


def test_annotation_gives_the_number_of_labels_that_count() -> None:
    assert resolve_n_domains("annotation", _LABELS, partition="cohort") == 2


def test_a_given_number_needs_no_annotation() -> None:
    assert resolve_n_domains(3, [None] * 5, partition="A") == 3


def test_no_annotation_names_partition_setting_and_option() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_n_domains("annotation", ["undetermined", None], partition="D1")
    for part in ("domains.n_domains", "--n-domains", "'D1'", "annotated"):
        assert part in caught.value.line


def test_more_domains_than_spots_names_partition_and_bounds() -> None:
    with pytest.raises(SettingsError, match=r"is 9, which 8 spots of 'D1'.*from 1 to 8.*--n-domains"):
        resolve_n_domains(9, _LABELS, partition="D1")


def test_as_many_domains_as_spots_and_one_domain_are_allowed() -> None:
    assert resolve_n_domains(8, _LABELS, partition="D1") == 8
    assert resolve_n_domains(1, _LABELS, partition="D1") == 1


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "n_labels"), [("dlpfc_br8100", 7), ("her2st_abcd", 6)])
def test_public_annotations_give_the_published_numbers(
    real_data: Callable[[str], Path], name: str, n_labels: int
) -> None:
    files = sorted(real_data(name).glob("**/*annotation.csv"))
    labels = pd.concat([pd.read_csv(file, dtype=str) for file in files])["label"]
    assert resolve_n_domains("annotation", labels, partition="cohort") == n_labels

"""Markers across donors, and in how many donors each holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from stalign_core.downstream import MarkerRules, find_markers, is_marker, marker_programs
from stalign_core.downstream.markers import MARKER_COLUMNS
from stalign_core.downstream.programs import PROGRAM_COLUMNS
from tests.core.downstream.donors import SPOTS_PER_DOMAIN, profiles_of

RULES = MarkerRules()


def donors(n: int, **only: dict[tuple[str, int], float]) -> dict[str, object]:
    """Donors d1, d2, ...: gene 3 marks domain 2 in all; `only` plants more in single ones."""
    return {
        f"d{number}": profiles_of({("2", 3): 3.0, **only.get(f"d{number}", {})}, seed=number)
        for number in range(1, n + 1)
    }


def test_planted_markers_are_found_and_no_others() -> None:
    markers = find_markers(donors(4), RULES)
    assert list(markers.columns) == list(MARKER_COLUMNS)
    found = markers[is_marker(markers, RULES)]
    assert found[["domain", "gene"]].to_numpy().tolist() == [["2", "g03"]]
    row = found.iloc[0]
    assert row["log2_fold_change"] == pytest.approx(np.log2(3) - np.log2(62 / 60), abs=0.15), (
        "less what the gene adds to the library"
    )
    assert row["n_donors"] == 4
    assert row["mean_expression"] > row["mean_elsewhere"]
    assert markers[markers["domain"] == "2"].iloc[0]["gene"] == "g03"


def test_q_is_benjamini_and_hochbergs_over_the_genes_of_a_domain() -> None:
    markers = find_markers(donors(3), RULES)
    for _, rows in markers.groupby("domain"):
        np.testing.assert_allclose(rows["q"], multipletests(rows["p"], method="fdr_bh")[1], rtol=1e-9)
        assert rows["q"].is_monotonic_increasing


def test_one_donor_alone_makes_no_marker_of_the_cohort() -> None:
    """Forty spots of one donor are one observation: a gene that only that donor's domain has is none across donors."""
    of_one = find_markers(donors(4, d1={("1", 7): 8.0}), RULES)
    row = of_one[(of_one["domain"] == "1") & (of_one["gene"] == "g07")].iloc[0]
    assert row["log2_fold_change"] > 0.5
    assert row["q"] > 0.05


def test_with_two_donors_effects_are_given_without_a_test() -> None:
    markers = find_markers(donors(2), RULES)
    assert markers[["t", "p", "q"]].isna().all().all()
    assert not is_marker(markers, RULES).any()
    assert markers[markers["domain"] == "2"].iloc[0]["gene"] == "g03"


def test_a_donor_with_too_few_spots_of_a_domain_does_not_count_there() -> None:
    assert set(find_markers(donors(3), MarkerRules(min_spots=SPOTS_PER_DOMAIN))["n_donors"]) == {3}
    nobody = find_markers(donors(3), MarkerRules(min_spots=SPOTS_PER_DOMAIN + 1))
    assert nobody.empty and list(nobody.columns) == list(MARKER_COLUMNS)


def test_programs_tell_conserved_markers_from_those_of_one_donor() -> None:
    everything = donors(4, d1={("1", 7): 4.0, ("3", 9): 4.0}, d2={("3", 9): 4.0})
    programs = marker_programs(everything, RULES, conserved_share=0.8)
    assert list(programs.columns) == list(PROGRAM_COLUMNS)
    found = programs.set_index(["domain", "gene"])
    assert tuple(found.loc[("2", "g03"), ["program", "n_significant", "n_donors"]]) == ("conserved", 4, 4)
    assert tuple(found.loc[("1", "g07"), ["program", "donors"]]) == ("donor-specific", "d1")
    assert tuple(found.loc[("3", "g09"), ["program", "donors"]]) == ("shared", "d1, d2")
    assert len(found) == 3


def test_a_single_donor_cannot_tell_its_own_from_the_conserved() -> None:
    programs = marker_programs({"d1": profiles_of({("2", 3): 3.0}, seed=1)}, RULES)
    assert programs["program"].tolist() == ["untold"]


def test_within_a_donor_the_test_is_welchs_over_spots() -> None:
    from scipy.sparse import csr_matrix
    from scipy.stats import ttest_ind

    from stalign_core.downstream import ProfileSums

    counts = np.random.default_rng(0).poisson([[5, 50, 9]] * 24)
    counts[:12, 0] += 4
    domain = np.repeat(np.array(["a", "b"], dtype=object), 12)
    genes = np.array(["x", "y", "z"], dtype=object)
    sums = ProfileSums(("a", "b"), 1e4)
    sums.add_section(csr_matrix(counts), genes, genes, domain)
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    p = ttest_ind(logs[:12], logs[12:], equal_var=False).pvalue
    q = multipletests(p, method="fdr_bh")[1]
    for fdr, expected in ((q[0] * 1.001, ["x"]), (q[0] * 0.999, [])):
        rules = MarkerRules(fdr=float(fdr), min_log2_fold_change=0.3)
        programs = marker_programs({"d1": sums.result()}, rules)
        assert programs.loc[programs["domain"] == "a", "gene"].tolist() == expected


def test_nothing_comparable_gives_an_empty_table_of_programs() -> None:
    programs = marker_programs(donors(2), MarkerRules(min_spots=1000))
    pd.testing.assert_index_equal(programs.columns, pd.Index(PROGRAM_COLUMNS))
    assert programs.empty

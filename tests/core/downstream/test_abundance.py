"""Domain abundance and its differences between conditions, donors as units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stalign_core.downstream import abundance_differences, domain_abundance
from stalign_core.errors import DownstreamError


def table(spots: dict[str, list[int]], donors: dict[str, str] | None = None) -> pd.DataFrame:
    """Abundance of domains 1, 2, ... from spots per sample; a sample is its own donor unless named."""
    rows = [
        (sample, (donors or {}).get(sample, sample), str(number))
        for sample, counts in spots.items()
        for number, n in enumerate(counts, start=1)
        for _ in range(n)
    ]
    samples, of, domains = zip(*rows, strict=True)
    return domain_abundance(samples, of, domains)


def centred(counts: list[int]) -> np.ndarray:
    logs = np.log(np.array(counts) + 0.5)
    return logs - logs.mean()


def test_shares_of_a_sample_add_up_and_lacking_domains_are_zero() -> None:
    found = table({"s10": [0, 5], "s2": [30, 10]})
    assert found.to_numpy().tolist() == [
        ["s2", "s2", "1", 30, 0.75],
        ["s2", "s2", "2", 10, 0.25],
        ["s10", "s10", "1", 0, 0.0],
        ["s10", "s10", "2", 5, 1.0],
    ]


CONTROL = {"c1": [60, 30, 10], "c2": [55, 35, 10], "c3": [65, 25, 10]}
TREATED = {"t1": [30, 30, 40], "t2": [35, 35, 30], "t3": [25, 40, 35]}
CONDITIONS = {**dict.fromkeys(CONTROL, "control"), **dict.fromkeys(TREATED, "treated")}


def test_between_donors_the_test_is_welchs_on_centred_log_ratios() -> None:
    found = abundance_differences(table({**CONTROL, **TREATED}), CONDITIONS)
    control, treated = (np.array([centred(counts) for counts in each.values()]) for each in (CONTROL, TREATED))
    expected = stats.ttest_ind(treated, control, equal_var=False)
    np.testing.assert_allclose(found["t"], expected.statistic)
    np.testing.assert_allclose(found["p"], expected.pvalue)
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(expected.pvalue))
    np.testing.assert_allclose(found["log_ratio"], treated.mean(axis=0) - control.mean(axis=0))
    np.testing.assert_allclose(found["share_reference"], [0.6, 0.3, 0.1])
    assert set(found["design"]) == {"between donors"}
    assert (found["condition"].iloc[0], found["reference"].iloc[0]) == ("treated", "control")


def test_sections_of_one_donor_are_one_observation() -> None:
    doubled = {**CONTROL, **TREATED, **{f"{name}_again": counts for name, counts in TREATED.items()}}
    donors = {f"{name}_again": name for name in TREATED}
    conditions = {**CONDITIONS, **dict.fromkeys((f"{name}_again" for name in TREATED), "treated")}
    found = abundance_differences(table(doubled, donors), conditions)
    assert set(found["n_donors"]) == {3}
    once = abundance_differences(table({**CONTROL, **TREATED}), CONDITIONS)
    np.testing.assert_allclose(found["share"], once["share"])


def test_donors_that_have_both_conditions_are_compared_with_themselves() -> None:
    spots = {f"{name}_c": counts for name, counts in zip("abc", CONTROL.values(), strict=True)}
    spots |= {f"{name}_t": counts for name, counts in zip("abc", TREATED.values(), strict=True)}
    donors = {sample: sample[0] for sample in spots}
    conditions = {sample: "treated" if sample.endswith("t") else "control" for sample in spots}
    found = abundance_differences(table(spots, donors), conditions)
    control, treated = (np.array([centred(counts) for counts in each.values()]) for each in (CONTROL, TREATED))
    np.testing.assert_allclose(found["p"], stats.ttest_rel(treated, control).pvalue)
    assert set(found["design"]) == {"within donors"}


def test_three_conditions_are_compared_in_pairs() -> None:
    third = {"x1": [10, 10, 80], "x2": [12, 9, 80], "x3": [9, 14, 75]}
    found = abundance_differences(
        table({**CONTROL, **TREATED, **third}), {**CONDITIONS, **dict.fromkeys(third, "late")}
    )
    assert list(found[["condition", "reference"]].drop_duplicates().itertuples(index=False, name=None)) == [
        ("late", "control"),
        ("treated", "control"),
        ("treated", "late"),
    ]
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]))


def test_too_few_donors_are_refused_in_one_line_that_counts_them() -> None:
    few = {name: counts for name, counts in {**CONTROL, **TREATED}.items() if name != "t3"}
    with pytest.raises(DownstreamError) as error:
        abundance_differences(table(few), CONDITIONS)
    assert error.value.line == (
        "domain abundance: conditions cannot be compared (donors per condition: control: 3, treated: 2); expected two "
        "conditions with 3 donors each and no donor in both, or 3 donors with both; a donor is one observation: more "
        "sections of the same donors do not help"
    )


@pytest.mark.parametrize("conditions", [{}, dict.fromkeys(CONTROL, ""), dict.fromkeys(CONTROL, "control")])
def test_a_sheet_without_two_conditions_is_refused(conditions: dict[str, str]) -> None:
    with pytest.raises(DownstreamError, match="conditions cannot be compared"):
        abundance_differences(table(CONTROL), conditions)


def test_one_domain_cannot_be_compared() -> None:
    alone = {name: [10] for name in CONDITIONS}
    with pytest.raises(DownstreamError, match="has 1 domains"):
        abundance_differences(table(alone), CONDITIONS)

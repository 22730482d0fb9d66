"""Networks from local files, and activities that never touch a network of the other kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from stalign_core.downstream import activity, domain_activities, donor_activities, read_network
from stalign_core.downstream.network import on_gene_keys
from stalign_core.errors import DownstreamError
from tests.core.downstream.donors import gene_keys, profiles_of

UP = range(10)
OTHER = range(20, 30)
NETWORK = pd.DataFrame(
    [("rising", f"g{number:02d}", 1.0) for number in UP] + [("idle", f"g{number:02d}", 1.0) for number in OTHER],
    columns=["source", "target", "weight"],
)
PLANTED = {("2", number): 3.0 for number in UP}


def donors(n: int) -> dict[str, object]:
    return {f"d{number}": profiles_of(PLANTED, seed=number) for number in range(1, n + 1)}


def test_the_table_of_the_guide_is_one_that_can_be_used() -> None:
    network = read_network(Path(__file__).parents[3] / "docs" / "guide" / "pathway_targets.csv")
    assert network["source"].nunique() == 10
    assert network.groupby("source").size().min() >= 9
    assert network["target"].str.fullmatch(r"[A-Z0-9-]+").all()


@pytest.mark.parametrize("method", ["ulm", "mlm"])
def test_the_pathway_whose_targets_rise_is_active_in_its_domain(method: str) -> None:
    found = domain_activities(donor_activities(donors(3), NETWORK, method=method))
    rising = found[found["pathway"] == "rising"].set_index("domain")
    assert rising["activity"].idxmax() == "2"
    assert rising.loc["2", "activity"] > 5 and rising.loc["2", "q"] < 0.05
    idle = found[(found["pathway"] == "idle") & (found["domain"] == "2")].iloc[0]
    assert idle["activity"] < 1


def test_ulm_is_the_t_value_of_a_regression_on_the_weights() -> None:
    from scipy.stats import linregress

    profiles = donors(1)
    found = donor_activities(profiles, NETWORK).set_index(["domain", "pathway"])["activity"]
    weights = np.isin(gene_keys(), [f"g{number:02d}" for number in UP]).astype(float)
    fit = linregress(weights, profiles["d1"].log_ratio(1))
    assert found["2", "rising"] == pytest.approx(fit.slope / fit.stderr, rel=1e-4)


def test_two_donors_have_activities_but_no_test() -> None:
    found = domain_activities(donor_activities(donors(2), NETWORK))
    assert found["activity"].notna().all() and found[["t", "p", "q"]].isna().all().all()


def test_a_network_that_names_other_genes_is_refused() -> None:
    with pytest.raises(DownstreamError, match=r"no pathway has 5 targets .* \(0 of 20 targets are there\)"):
        donor_activities(donors(1), NETWORK.assign(target=NETWORK["target"].str.upper()))


def test_symbols_become_the_cohorts_keys_and_versions_of_ids_do_not_matter() -> None:
    ids = np.array([f"ENSG{number:011d}" for number in range(4)], dtype=object)
    symbols = np.array(["A", "B", "B", "C"], dtype=object)
    network = pd.DataFrame({"source": "p", "target": ["B", "C", "Z"], "weight": 1.0})
    assert on_gene_keys(network, ids, symbols)["target"].tolist() == [ids[1], ids[3]]
    by_id = pd.DataFrame({"source": "p", "target": [f"{ids[0]}.12", ids[2]], "weight": 1.0})
    assert on_gene_keys(by_id, ids, symbols)["target"].tolist() == [ids[0], ids[2]]


def test_a_network_file_is_read_with_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "network.csv"
    path.write_text("source,target,weight,padj\np,A,2.5,0.1\np,B,-1,0\nq,A,,\n")
    assert read_network(path).to_numpy().tolist() == [["p", "A", 2.5], ["p", "B", -1.0], ["q", "A", 1.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,gene\np,A\n", "row 1: misses the column target"),
        ("source,target,weight\np,A,much\n", "row 2, weight: is 'much'"),
        ("source,target,weight\np,A,0\n", "row 2, weight: is '0'"),
        ("source,target\np,A\np,\n", "row 3, target: is empty"),
        ("source,target\np,A\np,A\n", "row 3: repeats p and A of row 2"),
        ("source,target\n", "has a header but no rows"),
    ],
)
def test_a_network_that_cannot_stand_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "network.csv"
    path.write_text(text)
    with pytest.raises(DownstreamError) as error:
        read_network(path)
    assert words in error.value.line and "\n" not in error.value.line


WITHOUT_NETWORK = """
import socket, sys
def refuse(*arguments, **words):
    raise SystemExit("a network call was made")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from pathlib import Path
from stalign_core.downstream import domain_activities, donor_activities, read_network
from tests.core.downstream.donors import profiles_of
donors = {f"d{n}": profiles_of({("2", gene): 3.0 for gene in range(10)}, n) for n in range(3)}
found = domain_activities(donor_activities(donors, read_network(Path(sys.argv[1]))))
print(found.loc[found["activity"].idxmax(), "domain"])
"""


def test_activity_is_computed_where_every_network_call_fails(tmp_path: Path) -> None:
    NETWORK.to_csv(tmp_path / "network.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, str(tmp_path / "network.csv")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["2"]


def test_pictures_do_not_follow_what_the_library_does_to_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "decoupler.py").write_text("import matplotlib\nmatplotlib.rcParams['legend.handlelength'] = 99.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "decoupler", matplotlib)
    monkeypatch.delitem(sys.modules, "decoupler")
    before = dict(matplotlib.rcParams)
    assert activity._decoupler().__file__ == str(tmp_path / "decoupler.py")
    assert dict(matplotlib.rcParams) == before

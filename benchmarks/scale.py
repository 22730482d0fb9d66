"""What every asset of the Harmony line costs in cohorts of simulated donors, 5,000 spots and 12,000 genes each.

usage: scale.py FOLDER [--donors 10 50 200] [--train-fraction 0.1] [--no-one-more] [--picture scale.png] [--rows 50]

First the own assets of all donors are computed, then the cohort's for the first 10, 50 ... of them, anew at each size,
since panel and bases change. Runs are those of `stalign run`; of the cohort's steps each has a process of its own, so
that its peak memory is its own. At the end one more donor comes, first with panel and bases frozen, then with them
thawed.

Printed are CPU seconds and peak memory per asset. They are also kept in FOLDER/costs.json after each size, and a
benchmark that was stopped goes on from there. The folder takes about 100 MB per donor; delete it afterwards. Fewer
`--rows` of a section (100 spots each) only show that the script runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.asset_costs import AssetCost, costs_of, draw, table_of
from common.memory import wait_measured
from common.simulated_donors import donor_name, shared_biology, write_donor
from common.synthetic import SECTION_ROWS

MEGABYTES_PER_GIGABYTE = 1024
SHEET_COLUMNS = ("sample", "donor", "path", "image", "annotation")
DONORS, FROZEN, THAWED = "donors", "one more, frozen", "one more, thawed"


def main() -> None:
    """Run what FOLDER lacks, and print the tables."""
    chosen = _arguments()
    if chosen.only:
        _run_here(chosen.folder, chosen.only)
        return
    folder = chosen.folder.resolve()
    results = _read(folder)
    largest = max(chosen.donors)
    wanted = [(DONORS, largest, False), *((str(n_donors), n_donors, False) for n_donors in sorted(chosen.donors))]
    if chosen.one_more:
        wanted += [(FROZEN, largest + 1, True), (THAWED, largest + 1, False)]
    for name, n_donors, frozen in wanted:
        if name not in results:
            results[name] = _measure(folder, n_donors, "samples" if name == DONORS else "cohort", chosen, frozen)
            _keep(folder, results)
    _report(results, chosen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--donors", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--train-fraction", type=float, default=1.0, help="of the spots that AESTETIK trains on")
    parser.add_argument("--one-more", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rows", type=int, default=SECTION_ROWS, help="of a section, 100 spots each")
    parser.add_argument("--picture", type=Path, help="where the plot goes")
    parser.add_argument("--only", choices=["samples", "cohort"], help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, n_donors: int, phase: str, chosen: argparse.Namespace, frozen: bool) -> dict[str, Any]:
    """Bring a study of so many donors up to date; what that took, what its assets took, and which were new."""
    from stalign_assets.study import open_study

    began = time.time()
    _write_donors(folder / "data", n_donors, chosen.rows)
    simulated = time.time() - began
    study = _study(folder, chosen)
    _set(study, "incremental", "freeze_bases", frozen)
    known = _run_ids(study)
    spent = _run_in_child(study, phase)
    opened = open_study(study)
    new = tuple(_run_ids(study) - known)
    assets, computed = costs_of(opened), costs_of(opened, new)
    # The high-water mark that the system tells of a process ends with its last reset: that of its last asset.
    spent["peak_gb"] = round(max([spent["peak_gb"], *(cost.peak_gb for cost in computed)]), 2)
    return {
        "seconds_to_simulate": round(simulated, 1),
        "spent": spent,
        "assets": [asdict(cost) for cost in assets],
        "computed": [asdict(cost) for cost in computed],
    }


def _write_donors(data: Path, n_donors: int, n_rows: int) -> None:
    data.mkdir(parents=True, exist_ok=True)
    kept = data / "rows.txt"
    if kept.is_file() and int(kept.read_text(encoding="utf-8")) != n_rows:
        raise SystemExit(f"{data} has sections of {kept.read_text(encoding='utf-8')} rows: choose another folder")
    kept.write_text(str(n_rows), encoding="utf-8")
    biology = shared_biology()
    rows = []
    for index in range(n_donors):
        row = data / f"{donor_name(index)}.json"
        if not row.is_file():
            row.write_text(json.dumps(write_donor(data, index, biology, n_rows=n_rows)), encoding="utf-8")
        rows.append(json.loads(row.read_text(encoding="utf-8")))
    with (data / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
        lines = csv.DictWriter(stream, SHEET_COLUMNS)
        lines.writeheader()
        lines.writerows(rows)


def _study(folder: Path, chosen: argparse.Namespace) -> Path:
    """The study, made on first use; later its sheet follows the data's."""
    from stalign_assets.new_study import create_study
    from stalign_core.settings import parse_settings

    study = folder / "study"
    if not (study / "study.toml").is_file():
        settings: dict[str, Any] = {"variants": {"harmony": {"correction": "harmony"}}}
        if chosen.train_fraction < 1:
            settings["aestetik"] = {"train_fraction": chosen.train_fraction}
        create_study(study, folder / "data" / "samples.csv", parse_settings(settings))
        return study
    with (folder / "data" / "samples.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.update({name: f"../data/{row[name]}" for name in ("path", "image", "annotation")})
    with (study / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
        lines = csv.DictWriter(stream, SHEET_COLUMNS)
        lines.writeheader()
        lines.writerows(rows)
    return study


def _set(study: Path, section: str, name: str, value: object) -> None:
    from stalign_assets.settings_file import set_value

    set_value(study / "study.toml", section, name, value)


def _run_ids(study: Path) -> set[str]:
    snapshots = study / "dagster" / "run_settings"
    return {path.stem for path in snapshots.glob("*.json")}


def _run_in_child(study: Path, phase: str) -> dict[str, float]:
    """Wall and CPU seconds of one call, and the largest memory of any process that took part."""
    # Donors are many and small; the cohort's steps are few, and each gets a process.
    _set(study, "execution", "processes", 1 if phase == "samples" else 2)
    _set(study, "execution", "threads", 1)
    began = time.time()
    child = subprocess.Popen([sys.executable, __file__, str(study), "--only", phase])
    usage = wait_measured(child)
    if child.returncode:
        raise SystemExit(f"the {phase} ended with {child.returncode}")
    return {
        "seconds": round(time.time() - began, 1),
        "cpu_seconds": round(usage.cpu_seconds, 1),
        "peak_gb": round(usage.peak_mb / MEGABYTES_PER_GIGABYTE, 2),
    }


def _run_here(study: Path, phase: str) -> None:
    """What `stalign run` does, for the donors' own assets alone or with the cohort's."""
    from stalign_assets.driver import Request, bring_up_to_date

    report = bring_up_to_date(Request(study, scopes=() if phase == "samples" else ("cohort",)))
    faults = [*report.bad_input, *report.failures]
    if faults:
        raise SystemExit("\n".join(faults))


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "costs.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _keep(folder: Path, results: dict[str, Any]) -> None:
    (folder / "costs.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


def _report(results: dict[str, Any], chosen: argparse.Namespace) -> None:
    sizes = [str(n_donors) for n_donors in chosen.donors if str(n_donors) in results]
    costs = [AssetCost(**cost) for size in sizes for cost in results[size]["assets"]]
    print(table_of(costs))
    for name, result in results.items():
        spent = result["spent"]
        print(
            f"\n{name}: {spent['seconds']:.0f} s, {spent['cpu_seconds']:.0f} s of them CPU, "
            f"at most {spent['peak_gb']} GB in a process; simulated in {result['seconds_to_simulate']} s"
        )
    if sizes and FROZEN in results:
        _report_one_more(results, sizes[-1])
    if chosen.picture:
        draw(costs, chosen.picture)


def _report_one_more(results: dict[str, Any], largest: str) -> None:
    """CPU seconds of the donor that came last, beside those of the whole."""
    whole = [AssetCost(**cost) for cost in results[largest]["assets"]]
    for name in (FROZEN, THAWED):
        if name not in results:
            continue
        computed = [AssetCost(**cost) for cost in results[name]["computed"]]
        if name == THAWED:
            first = [AssetCost(**cost) for cost in results[FROZEN]["computed"]]
            computed += [cost for cost in first if not (cost.is_joint or cost.asset.startswith("cohort/"))]
        for joint in (False, True):
            all_of_it = sum(cost.cpu_seconds for cost in whole if cost.is_joint == joint)
            spent = sum(cost.cpu_seconds for cost in computed if cost.is_joint == joint)
            what = "joint steps" if joint else "all other steps"
            print(f"{name}: {what} {spent:.1f} s CPU of {all_of_it:.1f} s: 1/{all_of_it / max(spent, 1e-9):.1f}")


if __name__ == "__main__":
    main()

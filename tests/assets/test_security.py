"""What a name, a path, a stored file or a query of a user can reach: nothing outside the study."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import dagster as dg
import pytest

from stalign_assets.cli.main import main
from stalign_assets.cli.ui import command as ui_command
from stalign_assets.garbage import collect_garbage
from stalign_assets.new_study import create_study
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query, rebuild_tables
from stalign_assets.runs import open_instance
from stalign_assets.study import Study
from stalign_core.cohort import read_sample_sheet
from stalign_core.errors import ArtifactError, SampleSheetError, SettingsError, StudyError
from stalign_core.settings import parse_settings
from tests.assets.test_gc import LATER, commit
from tests.studies import TINY_SETTINGS, two_donor_sheet

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for package in ("stalign_core", "stalign_assets") for path in (ROOT / package).rglob("*.py"))
OUTSIDE = ("../x", "..", "/etc/x", "a/b", "a\\b", "a\x00b", "a..b", ".hidden", "C:x", "a\nb", "~root", "x" * 65, "")


@pytest.fixture
def local(tmp_path: Path, tiny_data: Path) -> Study:
    """A study without artifacts, its store in its folder."""
    return create_study(tmp_path / "study", two_donor_sheet(tiny_data), parse_settings(TINY_SETTINGS))


# The web server


def test_the_web_server_binds_to_loopback_unless_told_otherwise() -> None:
    (host,) = [option for option in ui_command.params if option.name == "host"]
    assert isinstance(host, click.Option) and host.default == "127.0.0.1"


# Dependencies


def test_every_dependency_is_locked_with_a_hash_and_installed_by_it() -> None:
    entries = re.sub(r"\\\n\s*", "", (ROOT / "requirements.lock").read_text()).splitlines()
    locked = {}
    for entry in (line for line in entries if line and not line.startswith("#")):
        matched = re.fullmatch(
            r"([a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==\S+(?: ; .+?)?((?: --hash=sha256:[0-9a-f]{64})+)", entry
        )
        assert matched, entry
        locked[matched[1]] = matched[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    names = {re.split(r"[\[<>=; ]", each)[0].lower() for each in asked} - {"stalign"}
    assert names <= set(locked)
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text()


# Pickle

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & UNPICKLERS
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNPICKLERS
        elif isinstance(node, ast.Call):
            words = {word.arg: word.value for word in node.keywords}
            allowed = words.get("allow_pickle")
            assert allowed is None or (isinstance(allowed, ast.Constant) and allowed.value is False)
            name = ast.unparse(node.func)
            assert name not in ("pd.read_pickle", "pandas.read_pickle")
            if name == "torch.load":
                only = words.get("weights_only")
                assert isinstance(only, ast.Constant) and only.value is True


def test_no_asset_hands_values_through_dagster() -> None:
    """Dagster's default IO manager pickles what an asset returns or takes: none returns a value, none takes one."""
    for asset in build_definitions(settings=parse_settings(TINY_SETTINGS)).assets or ():
        assert isinstance(asset, dg.AssetsDefinition)
        made = asset.op.compute_fn.decorated_fn.__annotations__["return"]  # type: ignore[union-attr]
        assert made in (dg.MaterializeResult, Iterator[dg.MaterializeResult]), asset.key
        assert all(given.dagster_type.kind.name == "NOTHING" for given in asset.op.input_defs), asset.key


# Names and paths


@pytest.mark.parametrize("column", ["sample", "donor"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_of_samples_and_donors_cannot_lead_outside(tmp_path: Path, column: str, name: str) -> None:
    cells = {"sample": "S1", "donor": "D1", column: name}
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells.values())
    sheet = tmp_path / "samples.csv"
    sheet.write_text(f"{','.join(cells)},path\n{quoted},x.h5ad\n")
    with pytest.raises(SampleSheetError) as error:
        read_sample_sheet(sheet)
    assert "\n" not in error.value.line


@pytest.mark.parametrize("section", ["variants", "encoders", "representations"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_in_settings_cannot_lead_outside(section: str, name: str) -> None:
    entry = {"variants": {"correction": "harmony"}, "encoders": {"model": "texture"}, "representations": {"obsm": "X"}}
    with pytest.raises(SettingsError):
        parse_settings({section: {name: entry[section]}})


@pytest.mark.parametrize("partition", ["../../escaped", "/tmp/escaped", "..", "P09"])
def test_a_partition_that_the_sheet_does_not_name_makes_nothing(local: Study, partition: str) -> None:
    """Dagster takes any partition key that a caller of its API adds."""
    before = {path for path in local.folder.parent.rglob("*") if "dagster" not in path.parts}
    definitions = build_definitions(
        settings=local.settings, resources={"study": StudyResource(folder=str(local.folder))}
    )
    with open_instance(local) as instance:
        instance.add_dynamic_partitions("donors", [partition])
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("raw_samples")],
            partition_key=partition,
            raise_on_error=False,
        )
    assert not done.success
    after = {path for path in local.folder.parent.rglob("*") if "dagster" not in path.parts}
    assert {path.name for path in after - before} <= {"store", "store.lock"}


@pytest.mark.parametrize("key", ["../../elsewhere", "/etc", "..", "a/../../b", "."])
def test_a_pointer_cannot_lead_outside(local: Study, key: str) -> None:
    pointer = Path(commit(local, "features", "a" * 32, in_force=True).folder.path).parent / "current.json"
    pointer.write_text(json.dumps({"input_key": key}))
    with pytest.raises(ArtifactError, match="not a whole pointer"):
        local.store.current("features", "P01")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/../../b", "..", "a\\b", ""])
def test_a_manifest_cannot_name_files_outside_its_artifact(local: Study, name: str) -> None:
    from dataclasses import replace

    artifact = commit(local, "features", "a" * 32, in_force=True)
    (record,) = artifact.manifest.files.values()
    sealed = replace(artifact.manifest, files={name: record}).to_json()
    (Path(artifact.folder.path) / "manifest.json").write_text(sealed)
    with pytest.raises(ArtifactError, match="names a file outside"):
        local.store.current("features", "P01")


def test_gc_follows_no_link_out_of_the_store(local: Study, tmp_path: Path) -> None:
    artifact = commit(local, "features", "a" * 32)
    outside = tmp_path / "outside"
    Path(artifact.folder.path).rename(outside)
    Path(artifact.folder.path).symlink_to(outside)
    kept = {path.name for path in outside.iterdir()}
    with open_instance(local) as instance:
        collect_garbage(local, instance, keep_days=0, now=LATER)
    assert {path.name for path in outside.iterdir()} == kept


# SQL


@pytest.fixture
def tables(local: Study) -> Path:
    """The tables of a study without artifacts."""
    rebuild_tables(local, recipes_of(local.settings))
    return local.metrics_path


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from read_blob('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "select * from read_parquet('http://127.0.0.1:1/x.parquet')",
        "attach '/tmp/stalign_other.duckdb' as other",
        "attach ':memory:' as other; create table other.x (a integer)",
        "copy metrics to '/tmp/stalign_stolen.csv'",
        "copy (select 1) to '/tmp/stalign_stolen.parquet'",
        "export database '/tmp/stalign_stolen'",
        "import database '/tmp/stalign_stolen'",
        "copy metrics from '/etc/passwd'",
        "install httpfs",
        "load httpfs",
        "load '/tmp/x.duckdb_extension'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "pragma enable_external_access = true",
        "set allowed_directories = ['/']",
        "set temp_directory = '/tmp/stalign_stolen'",
        "create secret (type s3)",
        "create table x (a integer)",
        "drop table metrics",
        "delete from metrics",
        "insert into metrics select * from metrics",
        "select getenv('HOME')",
        "select 1; select * from read_csv('/etc/passwd')",
        "select * from SOURCES",
        "select * from frame",
    ],
)
def test_sql_cannot_write_or_reach_outside(tables: Path, sql: str) -> None:
    import pandas as pd

    frame = pd.DataFrame({"secret": [1]})
    before = tables.read_bytes()
    with pytest.raises(StudyError) as error:
        query(tables, sql)
    assert "\n" not in error.value.line and len(frame) == 1
    assert tables.read_bytes() == before
    assert not list(Path("/tmp").glob("stalign_*"))


def test_the_command_refuses_such_sql_in_one_line(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["metrics", str(tables.parent), "--sql", "select * from read_csv('/etc/passwd')"])
    told = capsys.readouterr()
    assert stop.value.code == 2 and told.out == ""
    (line,) = (line for line in told.err.splitlines() if not line.startswith("  … "))  # progress
    assert line.startswith("error: ")

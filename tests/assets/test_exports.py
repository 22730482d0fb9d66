"""Exports, opened again by the tools that they are for: counts and order intact."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from stalign_assets.cli.main import main
from stalign_assets.recipes.samples import RAW
from stalign_assets.study import Study, open_study
from stalign_core.errors import SettingsError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all formats but SpatialData."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.raises(SystemExit) as end:
        main(["export", str(finished_study), "--out", str(folder)])
    assert not end.value.code
    return folder


@pytest.fixture(scope="module")
def opened(finished_study: Path) -> Study:
    """The study that is exported."""
    return open_study(finished_study)


def domains_of(study: Study) -> pd.DataFrame:
    """Of the store, in its order."""
    return study.store.current("cohort/harmony/domains", "_all").table("domains.parquet")


def test_the_atlas_holds_the_counts_of_the_store_in_its_order(exported: Path, opened: Study) -> None:
    atlas = anndata.read_h5ad(exported / "atlas.h5ad")
    domains = domains_of(opened)
    assert list(atlas.obs_names) == list(domains["sample"] + "_" + domains["barcode"])
    assert list(atlas.obs["domain"].astype(str)) == list(domains["domain"])
    for donor in ("P01", "P02"):
        raw = opened.store.current(RAW, donor)
        for sample in raw.manifest.summary["samples"]:
            counts = raw.anndata(f"{sample}.counts.h5ad")
            mine = atlas[atlas.obs["sample"] == sample]
            assert (mine.X != counts[:, atlas.var_names].X).nnz == 0
            assert list(mine.var["symbol"]) == list(counts[:, atlas.var_names].var["symbol"])
            spots = raw.table(f"{sample}.spots.parquet")
            np.testing.assert_array_equal(mine.obsm["spatial"], spots[["x", "y"]])
            vectors = opened.store.current("cohort/harmony/spot_embeddings", "_all").arrays(f"{donor}.safetensors")
            np.testing.assert_array_equal(mine.obsm["X_aestetik"], vectors[sample])


def test_scanpy_plots_the_atlas_straight_away(exported: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import scanpy as sc

    atlas = anndata.read_h5ad(exported / "atlas.h5ad")
    sample = str(atlas.obs["sample"].iloc[0])
    (axes,) = sc.pl.spatial(atlas[atlas.obs["sample"] == sample], library_id=sample, color="domain", show=False)
    assert axes.images, "the picture of the section lies below the spots"
    shown = {tuple(color) for color in axes.collections[0].get_facecolor()}
    assert len(shown) == atlas.obs.loc[atlas.obs["sample"] == sample, "domain"].nunique()


def test_loupe_takes_the_barcodes_of_each_sample(exported: Path, opened: Study) -> None:
    domains = domains_of(opened)
    for sample, rows in domains.groupby("sample"):
        table = pd.read_csv(exported / "loupe" / f"{sample}.csv", dtype=str)
        assert list(table.columns) == ["Barcode", "domain"]
        assert list(table["Barcode"]) == list(rows["barcode"])
        assert list(table["domain"]) == list(rows["domain"])


def test_qupath_gets_circles_in_full_resolution_pixels(exported: Path, opened: Study) -> None:
    from shapely.geometry import shape

    raw = opened.store.current(RAW, "P01")
    (sample,) = raw.manifest.summary["samples"]
    spots = raw.table(f"{sample}.spots.parquet")
    diameter = raw.json(f"{sample}.image.json")["spot_diameter"]
    features = json.loads((exported / "qupath" / f"{sample}.geojson").read_text())["features"]
    domains = domains_of(opened).query("sample == @sample").set_index("barcode")["domain"]
    assert [feature["properties"]["name"] for feature in features] == list(spots["barcode"])
    colors = {}
    for feature, centre in zip(features, spots[["x", "y"]].to_numpy(), strict=True):
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        np.testing.assert_allclose(polygon.centroid.coords[0], centre, atol=0.02)
        assert polygon.bounds[2] - polygon.bounds[0] == pytest.approx(diameter, abs=0.02)
        named = feature["properties"]["classification"]
        assert named["name"] == f"domain {domains[feature['properties']['name']]}"
        colors.setdefault(named["name"], set()).add(tuple(named["color"]))
    assert all(len(found) == 1 for found in colors.values())
    assert len(set().union(*colors.values())) == len(colors)


def test_parquet_tables_share_one_order(exported: Path, opened: Study) -> None:
    spots, embedding = (pd.read_parquet(exported / f"{name}.parquet") for name in ("spots", "embedding"))
    domains = domains_of(opened)
    for table in (spots, embedding):
        assert list(table["barcode"]) == list(domains["barcode"])
    assert list(spots["domain"]) == list(domains["domain"])


def test_spatialdata_reads_its_store(finished_study: Path, tmp_path: Path, opened: Study) -> None:
    spatialdata = pytest.importorskip("spatialdata", reason="the package spatialdata is not installed")
    from stalign_assets.exporting import export_cohort

    for _ in range(2):  # one that lies there is replaced
        export_cohort(opened, "harmony", ("spatialdata",), tmp_path)
    store = spatialdata.read_zarr(tmp_path / "atlas.zarr")
    table = store.tables["table"]
    domains = domains_of(opened)
    assert list(table.obs["domain"].astype(str)) == list(domains["domain"])
    for sample, rows in domains.groupby("sample"):
        circles = store.shapes[sample]
        assert len(circles) == len(rows)
        mine = table[table.obs["sample"] == sample]
        centres = np.array([point.coords[0] for point in circles.geometry])
        np.testing.assert_allclose(centres[mine.obs["instance"]], mine.obsm["spatial"])


@pytest.mark.parametrize(
    ("variant", "formats", "named"), [("none", ("h5ad",), "variant 'none'"), ("harmony", ("csv",), "format 'csv'")]
)
def test_what_is_not_known_is_named(
    opened: Study, tmp_path: Path, variant: str, formats: tuple[str, ...], named: str
) -> None:
    from stalign_assets.exporting import export_cohort

    with pytest.raises(SettingsError, match=named):
        export_cohort(opened, variant, formats, tmp_path)
    assert not list(tmp_path.iterdir())

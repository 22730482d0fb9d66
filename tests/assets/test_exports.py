"""Exports, opened again by the tools that they are for: counts and order intact."""

from __future__ import annotations

import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Source:
    """What the store has of a sample."""

    donor: str
    counts: anndata.AnnData
    barcodes: list[str]
    centres: np.ndarray
    diameter: float
    vectors: np.ndarray


def sources_of(study: Study) -> dict[str, Source]:
    """By sample, in the cohort's order."""
    embeddings = study.store.current("cohort/harmony/spot_embeddings", "_all")
    found = {}
    for donor in ("P01", "P02"):
        raw = study.store.current(RAW, donor)
        for sample in raw.manifest.summary["samples"]:
            spots = raw.table(f"{sample}.spots.parquet")
            found[sample] = Source(
                donor,
                raw.anndata(f"{sample}.counts.h5ad"),
                list(spots["barcode"]),
                spots[["x", "y"]].to_numpy(),
                raw.json(f"{sample}.image.json")["spot_diameter"],
                embeddings.arrays(f"{donor}.safetensors")[sample],
            )
    return found


def test_the_atlas_holds_the_counts_of_the_store_in_its_order(exported: Path, opened: Study) -> None:
    atlas = anndata.read_h5ad(exported / "atlas.h5ad")
    domains = domains_of(opened)
    assert list(atlas.obs_names) == list(domains["sample"] + "_" + domains["barcode"])
    assert list(atlas.obs["domain"].astype(str)) == list(domains["domain"])
    for sample, source in sources_of(opened).items():
        mine = atlas[atlas.obs["sample"] == sample]
        assert_same_counts(mine, source)
        assert list(mine.var["symbol"]) == list(source.counts[:, atlas.var_names].var["symbol"])
        np.testing.assert_array_equal(mine.obsm["spatial"], source.centres)
        np.testing.assert_array_equal(mine.obsm["X_aestetik"], source.vectors)


def assert_same_counts(exported: anndata.AnnData, source: Source) -> None:
    """Spot by spot and gene by gene, and nothing beside."""
    assert list(exported.obs["barcode"]) == source.barcodes
    assert exported.X.sum() > 0
    assert exported.X.shape == (len(source.barcodes), exported.n_vars)
    assert (exported.X != source.counts[:, exported.var_names].X).nnz == 0


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
    sources = sources_of(opened)
    assert {path.stem for path in (exported / "loupe").iterdir()} == set(sources)
    domains = domains_of(opened)
    for sample, source in sources.items():
        table = pd.read_csv(exported / "loupe" / f"{sample}.csv", dtype=str)
        assert list(table.columns) == ["Barcode", "domain"]
        assert list(table["Barcode"]) == list(source.barcodes)
        assert list(table["domain"]) == list(domains.loc[domains["sample"] == sample, "domain"])


def test_qupath_gets_circles_in_full_resolution_pixels(exported: Path, opened: Study) -> None:
    from shapely.geometry import shape

    sources = sources_of(opened)
    assert {path.stem for path in (exported / "qupath").iterdir()} == set(sources)
    colors: dict[str, set[tuple[int, ...]]] = {}
    for sample, source in sources.items():
        features = json.loads((exported / "qupath" / f"{sample}.geojson").read_text())["features"]
        domains = domains_of(opened).query("sample == @sample").set_index("barcode")["domain"]
        assert [feature["properties"]["name"] for feature in features] == source.barcodes
        for feature, centre in zip(features, source.centres, strict=True):
            polygon = shape(feature["geometry"])
            assert polygon.is_valid
            np.testing.assert_allclose(polygon.centroid.coords[0], centre, atol=0.02)
            assert polygon.bounds[2] - polygon.bounds[0] == pytest.approx(source.diameter, abs=0.02)
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
    vectors = np.concatenate([source.vectors for source in sources_of(opened).values()])
    columns = [f"z{number}" for number in range(1, vectors.shape[1] + 1)]
    assert list(embedding.columns) == ["sample", "barcode", *columns]
    np.testing.assert_array_equal(embedding[columns].to_numpy(), vectors)
    centres = np.concatenate([source.centres for source in sources_of(opened).values()])
    np.testing.assert_array_equal(spots[["x", "y"]].to_numpy(), centres)


def test_an_export_that_fails_leaves_the_earlier_one(
    opened: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stalign_assets.exporting import export_cohort

    export_cohort(opened, "harmony", ("parquet",), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def cut_off(_: pd.DataFrame, path: Path, **__: object) -> None:
        path.write_bytes(b"PAR1")
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", cut_off)
    with pytest.raises(OSError, match="no space left"):
        export_cohort(opened, "uncorrected", ("parquet",), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_spatialdata_reads_its_store(tmp_path: Path, opened: Study) -> None:
    spatialdata = pytest.importorskip("spatialdata", reason="the package spatialdata is not installed")
    from stalign_assets.exporting import export_cohort

    for variant in ("uncorrected", "harmony"):  # what lies there of another variant is replaced
        export_cohort(opened, variant, ("spatialdata",), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"atlas.h5ad", "atlas.zarr"}
    store = spatialdata.read_zarr(tmp_path / "atlas.zarr")
    table = store.tables["table"]
    domains = domains_of(opened)
    assert list(table.obs_names) == list(domains["sample"] + "_" + domains["barcode"])
    assert list(table.obs["domain"].astype(str)) == list(domains["domain"])
    sources = sources_of(opened)
    assert set(store.shapes) == set(sources)
    for sample, source in sources.items():
        mine = table[table.obs["sample"] == sample]
        assert_same_counts(mine, source)
        np.testing.assert_array_equal(mine.obsm["X_aestetik"], source.vectors)
        circles = store.shapes[sample]
        assert len(circles) == len(source.barcodes)
        centres = np.array([point.coords[0] for point in circles.geometry])
        np.testing.assert_array_equal(centres[mine.obs["instance"]], source.centres)
        assert set(circles["radius"]) == {source.diameter / 2}


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

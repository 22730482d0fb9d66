"""Sections kept in a SpatialData store: which table, where its spots lie, and which image serves."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stalign_core as st
from stalign_core.cohort import Sample, read_sample_sheet
from stalign_core.errors import InputDataError, SampleSheetError
from stalign_core.images import open_slide, probe_image
from stalign_core.readers import SampleFacts, image_file, read_sample, source_files
from tests.builders import ensembl_ids, random_counts, square_lattice, write_picture, write_sheet
from tests.core.readers.quick import QUICK
from tests.core.readers.stores import circles, picture, table_of, write_store

pytest.importorskip("spatialdata")

COUNTS = random_counts(12, 7)
LATTICE = square_lattice(3, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)


def sample_at(path: Path, **more: Any) -> Sample:
    return Sample("s1", "d1", path, **more)


def facts_of(sample: Sample) -> SampleFacts:
    return SampleFacts.from_dict(read_sample(sample).uns["stalign"])


def scale(factor: float) -> dict[str, Any]:
    from spatialdata.transformations import Scale

    return {"global": Scale([factor, factor], axes=("x", "y"))}


def test_counts_positions_and_image_are_brought_together(tmp_path: Path) -> None:
    # Shapes in micrometres, four to a pixel of the image; the pyramid's finest scale counts.
    path = write_store(
        tmp_path / "s.zarr",
        tables={"table": table_of(COUNTS)},
        shapes={"spots": circles(LATTICE.spatial * 4, 22.0)},
        images={"he": picture(PIXELS, scale(4.0), scale_factors=[2])},
    )
    section = read_sample(sample_at(path))
    np.testing.assert_array_equal(section.X.toarray(), COUNTS)
    assert section.obs_names.tolist() == [f"cell{i}" for i in range(12)]
    assert section.var_names.tolist() == ensembl_ids(7)
    assert section.var["symbol"].tolist() == [f"GENE{i}" for i in range(7)]
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial)
    facts = facts_of(sample_at(path))
    assert (facts.lattice, facts.image_kind, facts.image_scale) == ("irregular", "full", 1.0)
    assert facts.spot_diameter == pytest.approx(11.0)
    assert facts.image == str(path / "images" / "he")
    with open_slide(facts.image) as slide:
        np.testing.assert_array_equal(slide.read_region(30, 20, 90, 70), PIXELS[20:70, 30:90])


def test_array_coordinates_of_obs_make_a_lattice(tmp_path: Path) -> None:
    obs = {"array_row": LATTICE.array_row, "array_col": LATTICE.array_col, "in_tissue": [1] * 9 + [0] * 3}
    path = write_store(
        tmp_path / "s.zarr",
        tables={"table": table_of(COUNTS, obs=obs)},
        shapes={"spots": circles(LATTICE.spatial, 5.5)},
    )
    section = read_sample(sample_at(path))
    facts = SampleFacts.from_dict(section.uns["stalign"])
    assert (facts.lattice, facts.n_spots_off_tissue) == ("square", 3)
    np.testing.assert_array_equal(section.obs["array_col"], LATTICE.array_col[:9])


def test_cells_have_the_centroids_and_the_areas_of_their_polygons(tmp_path: Path) -> None:
    import geopandas
    from shapely import box
    from spatialdata.models import ShapesModel

    corners = [(x, y) for y in (0, 30) for x in (0, 50, 90)]
    # Row i of the table is shape 15 - i.
    cells = geopandas.GeoDataFrame(geometry=[box(x, y, x + 4, y + 6) for x, y in corners], index=range(10, 16))
    path = write_store(
        tmp_path / "s.zarr", tables={"table": table_of(COUNTS[:6], "cells")}, shapes={"cells": ShapesModel.parse(cells)}
    )
    section = read_sample(sample_at(path))
    np.testing.assert_allclose(section.obsm["spatial"], [(x + 2, y + 3) for x, y in reversed(corners)])
    facts = SampleFacts.from_dict(section.uns["stalign"])
    assert facts.spot_diameter == pytest.approx(2 * np.sqrt(24 / np.pi))
    assert facts.lattice == "irregular"


def test_a_store_without_image_takes_part_by_its_expression(tmp_path: Path) -> None:
    path = write_store(
        tmp_path / "s.zarr", tables={"table": table_of(COUNTS)}, shapes={"spots": circles(LATTICE.spatial, 5.5)}
    )
    facts = facts_of(sample_at(path))
    assert (facts.image, facts.image_kind) == ("", "none")
    image = write_picture(tmp_path / "slide.png", 120, 100)
    assert facts_of(sample_at(path, image=image)).image == str(image)


def test_of_several_tables_one_must_be_named(tmp_path: Path) -> None:
    path = write_store(
        tmp_path / "s.zarr",
        tables={"fine": table_of(COUNTS), "coarse": table_of(COUNTS[:, ::-1])},
        shapes={"spots": circles(LATTICE.spatial, 5.5)},
    )
    with pytest.raises(InputDataError, match=r"holds 2 tables \(coarse, fine\).*column table"):
        read_sample(sample_at(path))
    with pytest.raises(InputDataError, match="has no table 'cells', only coarse, fine"):
        read_sample(sample_at(path, table="cells"))
    np.testing.assert_array_equal(read_sample(sample_at(path, table="coarse")).X.toarray(), COUNTS[:, ::-1])
    sheet = write_sheet(tmp_path / "samples.csv", [{"sample": "s1", "donor": "d1", "path": "s.zarr", "table": "fine"}])
    assert read_sample_sheet(sheet).samples[0].table == "fine"
    sheet = write_sheet(tmp_path / "samples.csv", [{"sample": "s1", "donor": "d1", "path": "s.zarr"}])
    with pytest.raises(SampleSheetError, match=r"row 2, path: .*holds 2 tables"):
        read_sample_sheet(sheet)


def test_the_largest_image_of_three_channels_serves_unless_another_is_named(tmp_path: Path) -> None:
    path = write_store(
        tmp_path / "s.zarr",
        tables={"table": table_of(COUNTS)},
        shapes={"spots": circles(LATTICE.spatial, 5.5)},
        images={
            "full": picture(PIXELS),
            "hires": picture(PIXELS[::2, ::2], scale(2.0)),
            "stain": picture(np.concatenate([PIXELS, PIXELS], axis=0)[..., :1]),
        },
    )
    assert facts_of(sample_at(path)).image == str(path / "images" / "full")
    sheet = write_sheet(
        tmp_path / "samples.csv",
        [{"sample": "s1", "donor": "d1", "path": "s.zarr", "image": "s.zarr/images/hires"}],
    )
    (sample,) = read_sample_sheet(sheet).samples
    section = read_sample(sample)
    np.testing.assert_allclose(section.obsm["spatial"], LATTICE.spatial / 2)
    facts = SampleFacts.from_dict(section.uns["stalign"])
    assert facts.spot_diameter == pytest.approx(5.5)
    assert image_file(sample) == path / "images" / "hires"


def test_sources_are_the_elements_that_are_read_and_others_are_not_opened(tmp_path: Path) -> None:
    path = write_store(
        tmp_path / "s.zarr",
        tables={"table": table_of(COUNTS), "other": table_of(COUNTS)},
        shapes={"spots": circles(LATTICE.spatial, 5.5), "more": circles(LATTICE.spatial, 5.5)},
        images={"he": picture(PIXELS)},
    )
    for broken in ("tables/other", "shapes/more"):
        (path / broken / "zarr.json").write_text("{")
    sample = sample_at(path, table="table")
    assert read_sample(sample).n_obs == 12
    named = {source.relative_to(path).as_posix() for source in source_files(sample)}
    assert named == {"tables/table", "shapes/spots", "images/he", "zarr.json"}


def test_positions_of_obsm_serve_where_no_shapes_belong_to_the_table(tmp_path: Path) -> None:
    path = write_store(
        tmp_path / "s.zarr",
        tables={"table": table_of(COUNTS, "masks", obsm={"spatial": LATTICE.spatial})},
        images={"he": picture(PIXELS)},
    )
    np.testing.assert_allclose(read_sample(sample_at(path)).obsm["spatial"], LATTICE.spatial)
    without = write_store(tmp_path / "t.zarr", tables={"table": table_of(COUNTS, "masks")})
    with pytest.raises(InputDataError, match=r"obsm\['spatial'\]: is missing, and no shapes belong to the table"):
        read_sample(sample_at(without))


def test_elements_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    from spatialdata.transformations import Identity

    lattice = LATTICE.spatial
    few = write_store(
        tmp_path / "few.zarr", tables={"table": table_of(COUNTS)}, shapes={"spots": circles(lattice[:10], 5.5)}
    )
    with pytest.raises(InputDataError, match=r"shapes/spots: lacks 2 of the 12 spots of table table \(first: 21\)"):
        read_sample(sample_at(few))
    apart = write_store(
        tmp_path / "apart.zarr",
        tables={"table": table_of(COUNTS)},
        shapes={"spots": circles(lattice, 5.5, {"slide": Identity()})},
        images={"he": picture(PIXELS)},
    )
    with pytest.raises(InputDataError, match=r"shares no coordinate system with the image \(slide against global\)"):
        read_sample(sample_at(apart))
    both = write_store(
        tmp_path / "both.zarr",
        tables={"table": table_of(COUNTS, ["spots", "more"])},
        shapes={"spots": circles(lattice, 5.5), "more": circles(lattice, 5.5)},
    )
    with pytest.raises(InputDataError, match=r"annotates 2 regions \(more, spots\)|\(spots, more\)"):
        read_sample(sample_at(both))
    bare = write_store(tmp_path / "bare.zarr", shapes={"spots": circles(lattice, 5.5)})
    with pytest.raises(InputDataError, match="holds no table"):
        read_sample(sample_at(bare))


def test_normalised_values_and_broken_stores_are_refused_in_one_line(tmp_path: Path) -> None:
    shapes = {"spots": circles(LATTICE.spatial, 5.5)}
    path = write_store(tmp_path / "log.zarr", tables={"table": table_of(np.log1p(COUNTS))}, shapes=shapes)
    with pytest.raises(InputDataError, match="are not integers"):
        read_sample(sample_at(path))
    path = write_store(tmp_path / "cut.zarr", tables={"table": table_of(COUNTS)}, shapes=shapes)
    (path / "shapes" / "spots" / "shapes.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputDataError, match=r"cut\.zarr: cannot be read") as caught:
        read_sample(sample_at(path))
    assert "\n" not in caught.value.line


def test_without_the_package_one_line_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_store(
        tmp_path / "s.zarr", tables={"table": table_of(COUNTS)}, shapes={"spots": circles(LATTICE.spatial, 5.5)}
    )
    load = builtins.__import__

    def refuse(name: str, *given: Any) -> Any:
        if name.startswith("spatialdata"):
            raise ImportError(name)
        return load(name, *given)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputDataError, match=r"pip install 'stalign\[spatialdata\]'"):
        read_sample(sample_at(path))


def test_an_image_of_a_store_is_read_chunk_by_chunk(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr", images={"he": picture(PIXELS, chunks=(3, 50, 40))})
    assert (probe_image(path / "images" / "he").width, probe_image(path / "images" / "he").height) == (120, 100)
    with open_slide(path / "images" / "he") as slide:
        np.testing.assert_array_equal(slide.read_region(5, 5, 35, 45), PIXELS[5:45, 5:35])
        assert slide.n_tiles_decoded == 1
        np.testing.assert_array_equal(slide.read_region(0, 0, 120, 100), PIXELS)
        assert slide.n_tiles_decoded == 6


def test_a_cohort_of_stores_is_integrated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        spatial = rng.uniform(6, [114, 94], (400, 2))
        left = spatial[:, 0] < 60
        rates = np.where(left[:, None], [6.0] * 30 + [1.0] * 30, [1.0] * 30 + [6.0] * 30)
        write_store(
            tmp_path / f"{name}.zarr",
            tables={"table": table_of(rng.poisson(rates))},
            shapes={"spots": circles(spatial, 4.0)},
            images={"he": picture(PIXELS)},
        )
    sheet = write_sheet(
        tmp_path / "samples.csv", [{"sample": name, "donor": name, "path": f"{name}.zarr"} for name in ("a", "b")]
    )
    adata = st.read_cohort(sheet)
    st.integrate(adata, n_domains=2, method="harmony", settings=QUICK)
    assert adata.obs["has_morphology"].all()
    left = adata.obsm["spatial"][:, 0] < 60
    modes = [adata.obs["domain"][side].mode()[0] for side in (left, ~left)]
    assert modes[0] != modes[1]
    for side, mode in zip((left, ~left), modes, strict=True):
        assert (adata.obs["domain"][side] == mode).mean() > 0.9

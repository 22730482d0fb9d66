"""Visium HD bins and cells of a SpatialData store, through the command: sample sheet in, domains out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.store.store import UNPARTITIONED
from tests.assets.bad_inputs import stalign
from tests.builders import ensembl_ids, write_sheet
from tests.core.readers.stores import circles, picture, table_of, write_store
from tests.core.readers.visium_hd import bin_lattice, write_bins

pytestmark = pytest.mark.slow

pytest.importorskip("spatialdata")

SIDE = 384
"""Of every section, in pixels of its image."""
N_GENES = 60
SETTINGS = {
    ("input", "min_genes"): 10,
    ("expression", "n_components"): 4,
    ("morphology", "n_components"): 2,
    ("aestetik", "epochs"): 10,
    ("metrics", "n_neighbors"): 15,
}


def two_halves(x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts of spots, of which those on the left express one half of the genes and those on the right the other."""
    left, half = (x < SIDE / 2)[:, None], N_GENES // 2
    return rng.poisson(np.where(left, [6.0] * half + [1.0] * half, [1.0] * half + [6.0] * half))


def stained(rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image that is violet on the left and pink on the right."""
    colors = np.where((np.arange(SIDE) < SIDE / 2)[:, None], [130, 90, 160], [230, 160, 190])
    return np.clip(colors + rng.normal(0, 15, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A donor of bins of 16 um, one of bins of 8 um, and one of cells anywhere, thrice as dense on one side."""
    rng = np.random.default_rng(0)
    rows = []
    for size, n_side in ((16, 12), (8, 24)):
        lattice = bin_lattice(n_side, n_side, size)
        name = f"bins{size}"
        write_bins(tmp_path / name, size, lattice, two_halves(lattice.spatial[:, 0], rng), genes=ensembl_ids(N_GENES))
        Image.fromarray(stained(rng)).save(tmp_path / f"{name}.png")
        rows.append({"sample": name, "donor": name, "path": name, "image": f"{name}.png", "bin": f"{size:03d}um"})
    x = np.concatenate([rng.uniform(0, SIDE / 2, 150), rng.uniform(SIDE / 2, SIDE, 450)])
    cells = np.column_stack([x, rng.uniform(0, SIDE, len(x))])
    write_store(
        tmp_path / "cells.zarr",
        tables={"table": table_of(two_halves(x, rng))},
        shapes={"spots": circles(cells, 4.0)},
        images={"he": picture(stained(rng))},
    )
    rows.append({"sample": "cells", "donor": "cells", "path": "cells.zarr", "image": "", "bin": ""})
    return write_sheet(tmp_path / "samples.csv", rows)


def test_bins_and_cells_of_three_donors_get_the_same_domains(
    sheet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    assert stalign(capsys, "init", study, "--samples", sheet).code == 0
    for (section, name), value in SETTINGS.items():
        set_value(study / "study.toml", section, name, value)
    answer = stalign(capsys, "run", study, "--scopes", "cohort", "--variants", "harmony", "--n-domains", "2")
    assert answer.code == 0, answer.out + answer.err

    store = open_study(study).store
    lattices = {"bins16": "square", "bins8": "square", "cells": "irregular"}
    found = pd.read_csv(study / "reports" / "domains_cohort_harmony.csv", dtype=str)
    on_the_left = {}
    for sample, kind in lattices.items():
        raw, grids = store.current("raw_samples", sample), store.current("spot_grids", sample)
        assert raw is not None and grids is not None
        assert raw.manifest.summary["samples"][sample]["lattice"] == kind
        cells = grids.arrays(f"{sample}.safetensors")["lattice"]
        assert len(np.unique(cells, axis=0)) == len(cells)
        spots = raw.table(f"{sample}.spots.parquet").set_index("barcode")
        assert len(spots) == {"bins16": 144, "bins8": 576, "cells": 600}[sample]
        if kind == "square":
            np.testing.assert_array_equal(cells, spots[["array_row", "array_col"]])
        own = found[found["sample"] == sample].set_index("barcode")["domain"][spots.index]
        left = (spots["x"] < SIDE / 2).to_numpy()
        named = [own[side].mode()[0] for side in (left, ~left)]
        for side, name in zip((left, ~left), named, strict=True):
            assert (own[side] == name).mean() > 0.9, sample
        on_the_left[sample] = named
    assert len({tuple(named) for named in on_the_left.values()}) == 1
    assert len(set(on_the_left["cells"])) == 2
    embeddings = store.current("cohort/harmony/corrected_features", UNPARTITIONED)
    assert embeddings is not None
    assert embeddings.arrays("bins8.safetensors")["has_morphology/bins8"].all()

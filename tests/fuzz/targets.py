"""What is fuzzed: a reader of bytes, and whole inputs to begin from."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from stalign_core.cohort import read_sample_sheet
from stalign_core.readers.h5ad import read_h5ad_section
from stalign_core.readers.positions import read_positions
from stalign_core.readers.spaceranger import read_scale_factors
from stalign_core.readers.tenx_matrix import read_tenx_h5, read_tenx_mtx
from stalign_core.settings import Settings, read_settings
from tests.builders import random_counts, write_h5ad_section, write_spaceranger_section


@dataclass(frozen=True)
class Target:
    """A reader of a file with this name, and payloads of whole files."""

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]

    def take(self, payload: bytes, folder: Path) -> object:
        """Read a payload."""
        path = folder / self.name
        path.write_bytes(payload)
        return self.read(path)


def _sheets() -> list[bytes]:
    return [
        b"sample,donor,path,image,annotation\nS1,D1,.,,\n",
        b'\xef\xbb\xbfsample,donor,path,retired,condition\r\n"S1",D1,x.h5ad,yes,a\r\nS2,D2,y.zarr,,\r\n',
    ]


def _settings() -> list[bytes]:
    from stalign_assets.settings_file import settings_text

    return [settings_text(Settings()).encode(), b'seed = 1\n[variants.a]\ncorrection = "harmony"\n']


def _section_files(*names: str) -> list[bytes]:
    found = []
    for positions, matrix in (("v1", "h5_v2"), ("v2", "h5_v3"), ("parquet", "mtx")):
        with tempfile.TemporaryDirectory() as folder:
            section = Path(folder)
            write_spaceranger_section(section, random_counts(6, 4), positions=positions, matrix=matrix)  # type: ignore[arg-type]
            found += [path.read_bytes() for name in names for path in sorted(section.rglob(name))]
    return found


def _h5ads() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [write_h5ad_section(Path(folder) / "x.h5ad", random_counts(6, 4)).read_bytes()]


def _declared() -> list[bytes]:
    """A matrix that declares a terabyte and holds nothing of it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([b"A-1"])
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, shape=(2**37,), dtype="i8", chunks=(1024,))
        group["shape"] = np.array([1, 1])
    return [buffer.getvalue()]


def _matrix_market(path: Path) -> object:
    features, barcodes = path.with_name("features.tsv"), path.with_name("barcodes.tsv")
    features.write_text("ENSG1\tA\nENSG2\tB\n")
    barcodes.write_text("AAAC-1\nAAAG-1\n")
    return read_tenx_mtx(path, features, barcodes)


TARGETS = {
    "sheet": Target("samples.csv", read_sample_sheet, _sheets),
    "settings": Target("study.toml", read_settings, _settings),
    "positions": Target("tissue_positions.csv", read_positions, lambda: _section_files("*positions*.csv")),
    "positions_parquet": Target("p.parquet", read_positions, lambda: _section_files("*.parquet")),
    "scale_factors": Target("s.json", read_scale_factors, lambda: _section_files("scalefactors_json.json")[:1]),
    "tenx_h5": Target("m.h5", read_tenx_h5, lambda: _section_files("*.h5") + _declared()),
    "matrix_market": Target("matrix.mtx", _matrix_market, lambda: _section_files("matrix.mtx")),
    "h5ad": Target("x.h5ad", lambda path: read_h5ad_section(path, "S1"), _h5ads),
}

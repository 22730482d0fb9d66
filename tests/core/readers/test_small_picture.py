"""The picture that lies under a map: from whatever image a sample has, and none where it cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from stalign_core.cohort import read_sample_sheet
from stalign_core.readers.pictures import small_picture
from tests.builders import random_counts, write_h5ad_section


def sample_with(folder: Path, image: str) -> object:
    write_h5ad_section(folder / "S1.h5ad", random_counts(20, 30))
    sheet = folder / "samples.csv"
    sheet.write_text(f"sample,donor,path,image\nS1,P1,S1.h5ad,{image}\n")
    return read_sample_sheet(sheet).samples[0]


@pytest.mark.parametrize("name", ["slide.jpg", "slide.tif", "slide.png"])
def test_a_large_image_of_the_sheet_is_shown_as_an_overview(tmp_path: Path, name: str) -> None:
    pixels = np.full((2600, 3000, 3), 230, np.uint8)
    pixels[:, 1500:] = (90, 40, 120)
    if name.endswith(".tif"):
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", tile=(256, 256), compression="zlib")
    else:
        Image.fromarray(pixels).save(tmp_path / name)
    found = small_picture(sample_with(tmp_path, name))  # type: ignore[arg-type]
    assert found is not None
    kind, picture, scale = found
    assert (kind, scale, picture.shape) == ("hires", 0.5, (1300, 1500, 3))
    assert np.abs(picture[:, :740].astype(int) - 230).max() <= 3
    assert np.abs(picture[:, 760:].astype(int) - (90, 40, 120)).max() <= 3


def test_an_image_that_cannot_be_read_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "slide.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert small_picture(sample_with(tmp_path, "slide.jpg")) is None  # type: ignore[arg-type]

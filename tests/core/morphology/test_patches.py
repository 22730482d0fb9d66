"""Where patches lie, and in what order they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stalign_core.images import open_slide
from stalign_core.images.pixels import Pixels
from stalign_core.morphology.patches import MAX_WAITING, PatchReader, patch_side, prefetched

HEIGHT, WIDTH = 90, 120
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
COORDINATES = np.stack([X, Y, np.zeros_like(X)], axis=-1).astype(np.uint8)
"""An image whose red and green say where a pixel lies."""


def as_it_is(patch: Pixels) -> Pixels:
    return patch


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, COORDINATES, photometric="rgb", tile=(32, 32), compression="deflate")
    return path


def read(image: Path, centers: list[tuple[float, float]], side: int) -> tuple[list[bool], dict[int, Pixels]]:
    with open_slide(image) as slide:
        reader = PatchReader(slide, np.array(centers), side)
        batches = list(reader.batches(3, as_it_is))
    patches = {int(spot): patch for spots, patches in batches for spot, patch in zip(spots, patches, strict=True)}
    return reader.observed.tolist(), patches


@pytest.mark.parametrize(
    ("center", "side", "first_pixel"),
    [
        ((50.0, 40.0), 10, (45, 35)),
        ((50.4, 40.4), 10, (45, 35)),
        ((50.6, 39.4), 10, (46, 34)),
        ((50.5, 40.5), 11, (45, 35)),
        ((50.5, 40.5), 1, (50, 40)),
    ],
)
def test_a_patch_is_centred_on_its_spot_within_half_a_pixel(
    image: Path, center: tuple[float, float], side: int, first_pixel: tuple[int, int]
) -> None:
    _, patches = read(image, [center], side)
    assert patches[0].shape == (side, side, 3)
    assert tuple(patches[0][0, 0, :2].tolist()) == first_pixel
    middle = patches[0][..., :2].mean(axis=(0, 1)) + 0.5
    assert np.abs(middle - center).max() <= 0.5


def test_spots_off_the_image_are_unobserved_and_patches_over_its_edge_are_white_there(image: Path) -> None:
    centers = [(0.0, 0.0), (-0.1, 5.0), (WIDTH - 0.5, 5.0), (float(WIDTH), 5.0), (5.0, HEIGHT + 9.0), (np.nan, 5.0)]
    observed, patches = read(image, centers, 10)
    assert observed == [True, False, True, False, False, False]
    assert sorted(patches) == [0, 2]
    np.testing.assert_array_equal(patches[0][5:, 5:], COORDINATES[:5, :5])
    assert (patches[0][:5] == 255).all()
    assert (patches[0][:, :5] == 255).all()


def test_every_observed_spot_comes_once_and_tiles_are_decoded_once(image: Path) -> None:
    centers = np.random.default_rng(0).uniform(0, [WIDTH, HEIGHT], (500, 2))
    with open_slide(image) as slide:
        reader = PatchReader(slide, centers, 8)
        spots = np.concatenate([spots for spots, _ in reader.batches(64, as_it_is)])
        assert sorted(spots.tolist()) == list(range(500))
        assert slide.n_tiles_decoded == 3 * 4


def test_patches_are_prepared_before_they_are_stacked(image: Path) -> None:
    with open_slide(image) as slide:
        reader = PatchReader(slide, np.array([(50.0, 40.0), (60.0, 50.0)]), 12)
        ((_, patches),) = reader.batches(8, lambda patch: patch[:3, :4])
    assert patches.shape == (2, 3, 4, 3)


def test_reading_waits_for_patches_to_be_prepared(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_patches, prepared_patches, ahead = [], [], []

    def slowly(patch: Pixels) -> Pixels:
        time.sleep(0.005)
        prepared_patches.append(None)
        return patch

    with open_slide(image) as slide:
        reader = PatchReader(slide, np.full((60, 2), 50.0), 12)
        read_region = slide.read_region

        def counted(*window: int) -> Pixels:
            read_patches.append(None)
            ahead.append(len(read_patches) - len(prepared_patches))
            return read_region(*window)

        monkeypatch.setattr(slide, "read_region", counted)
        assert [len(spots) for spots, _ in reader.batches(60, slowly)] == [60]
    # The one that is being read, and those that wait for it.
    assert 1 < max(ahead) <= MAX_WAITING


def test_the_side_is_the_nearest_whole_number_and_never_none() -> None:
    assert patch_side(1.0, 96.4, 1.0) == 96
    assert patch_side(2.0, 96.4, 0.045) == 9
    assert patch_side(1.0, 4.0, 0.05) == 1


def test_prefetched_items_keep_their_order_and_are_made_ahead_in_another_thread() -> None:
    made: list[int] = []
    makers: set[int] = set()

    def count() -> Iterator[int]:
        for item in range(6):
            makers.add(threading.get_ident())
            made.append(item)
            yield item

    items = prefetched(count(), n_ahead=2)
    first = next(items)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) == 3
    assert [first, *items] == list(range(6))
    assert threading.get_ident() not in makers


def test_an_error_while_prefetching_reaches_the_reader() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetched(fail())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)

"""Windows of images of every supported kind, and what broken files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from stalign_core.errors import ImageError
from stalign_core.images import ImageFacts, open_slide, picture, probe_image, tiff
from stalign_core.images.slide import Slide

HEIGHT, WIDTH = 300, 421


def picture_of(height: int = HEIGHT, width: int = WIDTH, n_channels: int = 3) -> NDArray[np.uint8]:
    """Smooth enough for JPEG, different everywhere, and not symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + 3 * k)) + np.cos(y / (11 + 2 * k)) for k in range(n_channels)]
    return np.stack([np.uint8(127 + 60 * wave) for wave in waves], axis=-1)


def windows(slide: Slide) -> NDArray[np.uint8]:
    """The whole image, put together from windows that do not fit the tiling."""
    rows = [
        np.concatenate(
            [
                slide.read_region(x, y, min(x + 83, slide.width), min(y + 59, slide.height))
                for x in range(0, slide.width, 83)
            ],
            axis=1,
        )
        for y in range(0, slide.height, 59)
    ]
    return np.concatenate(rows, axis=0)


RGB = picture_of()
TIFF_LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "uncompressed big-endian": {"byteorder": ">"},
    "tiled deflate": {"tile": (64, 96), "compression": "deflate"},
    "striped lzw": {"rowsperstrip": 17, "compression": "lzw"},
    "one compressed strip": {"compression": "deflate"},
    "BigTIFF tiled zstd": {"bigtiff": True, "tile": (128, 128), "compression": "zstd"},
    "tiled uncompressed": {"tile": (64, 64)},
}


@pytest.mark.parametrize("layout", TIFF_LAYOUTS)
def test_windows_of_a_tiff_equal_the_picture_that_was_written(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", **TIFF_LAYOUTS[layout])
    assert probe_image(path) == ImageFacts(width=WIDTH, height=HEIGHT, channels=3, format="tiff")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), RGB)


def test_jpeg_tiles_decode_as_pillow_decodes_them(tmp_path: Path) -> None:
    path = tmp_path / "strips.tif"
    Image.fromarray(RGB).save(path, compression="jpeg")
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), expected)
    tiled = tmp_path / "tiled.tif"
    tifffile.imwrite(tiled, RGB, photometric="rgb", tile=(64, 64), compression="jpeg")
    with open_slide(tiled) as slide:
        difference = np.abs(windows(slide).astype(int) - RGB)
    assert difference.mean() < 3


def test_planes_stored_one_after_another_are_put_together(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0)
    for name, options in {
        "mapped.tif": {},
        "tiled.tif": {"tile": (64, 64), "compression": "deflate"},
    }.items():
        path = tmp_path / name
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", **options)
        with open_slide(path) as slide:
            np.testing.assert_array_equal(windows(slide), RGB)


def test_an_ome_tiff_of_channel_planes_is_rgb(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(
        path, np.moveaxis(RGB, -1, 0), photometric="minisblack", metadata={"axes": "CYX"}, compression="lzw"
    )
    assert probe_image(path).channels == 3
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), RGB)


def test_a_pyramid_is_read_at_its_full_resolution(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate"}
        writer.write(RGB, subifds=2, **options)
        writer.write(RGB[::2, ::2], subfiletype=1, **options)
        writer.write(RGB[::4, ::4], subfiletype=1, **options)
    with open_slide(path) as slide:
        assert (slide.width, slide.height) == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(windows(slide), RGB)


def test_a_label_stored_before_the_slide_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "scanner.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB[:40, :50], photometric="rgb", metadata=None)
        writer.write(RGB, photometric="rgb", metadata=None, tile=(64, 64))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), RGB)


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, dtype=np.uint8)
    alpha[:100] = 0
    rgba = np.concatenate([RGB, alpha], axis=-1)
    expected = RGB.copy()
    expected[:100] = 255
    tiff_path, png_path = tmp_path / "slide.tif", tmp_path / "slide.png"
    tifffile.imwrite(tiff_path, rgba, photometric="rgb", extrasamples=["unassalpha"], tile=(64, 64))
    Image.fromarray(rgba).save(png_path)
    for path in (tiff_path, png_path):
        assert probe_image(path).channels == 4
        with open_slide(path) as slide:
            np.testing.assert_array_equal(windows(slide), expected)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, RGB.astype(np.uint16) * 257, photometric="rgb", tile=(64, 64))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), RGB)


def test_a_stated_maximum_of_twelve_bits_is_the_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    twelve_bits = np.full((64, 64), 4095, dtype=np.uint16)
    twelve_bits[:32] = 0
    tifffile.imwrite(path, twelve_bits, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)])
    with open_slide(path) as slide:
        assert np.unique(slide.read_region(0, 0, 64, 64)).tolist() == [0, 255]


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_is_repeated_over_the_three_channels(tmp_path: Path, photometric: str) -> None:
    grey = RGB[..., 0]
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, grey, photometric=photometric, rowsperstrip=20, compression="deflate")
    expected = grey if photometric == "minisblack" else 255 - grey
    assert probe_image(path).channels == 1
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), np.repeat(expected[..., None], 3, axis=-1))


def test_a_palette_gives_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    colors = np.random.default_rng(0).integers(0, 256, (256, 3))
    indices = RGB[..., 0]
    tifffile.imwrite(path, indices, photometric="palette", colormap=(colors.T * 257).astype(np.uint16))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide), colors[indices])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "LA", "1"])
def test_windows_of_jpeg_and_png_equal_pillows_full_decode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    for suffix in ["png"] * (mode != "CMYK") + ["jpg"] * (mode in ("RGB", "L", "CMYK")):
        path = tmp_path / f"slide.{suffix}"
        image.save(path)
        with Image.open(path) as decoded:
            expected = np.asarray(decoded.convert("RGB"))
        facts = probe_image(path)
        assert (facts.width, facts.height) == (WIDTH, HEIGHT)
        with open_slide(path) as slide:
            np.testing.assert_array_equal(windows(slide), expected)


def test_a_sixteen_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(path)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(windows(slide)[..., 1], RGB[..., 0])


def test_the_format_is_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    Image.fromarray(RGB).save(path, format="PNG")
    assert probe_image(path).format == "png"


def test_what_lies_outside_the_image_is_white(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(64, 64))
    with open_slide(path) as slide:
        corner = slide.read_region(-10, -20, 30, 40)
        np.testing.assert_array_equal(corner[20:, 10:], RGB[:40, :30])
        assert (corner[:20] == 255).all()
        assert (corner[:, :10] == 255).all()
        end = slide.read_region(WIDTH - 5, HEIGHT - 6, WIDTH + 7, HEIGHT + 8)
        np.testing.assert_array_equal(end[:6, :5], RGB[-6:, -5:])
        assert (end[6:] == 255).all()
        assert (end[:, 5:] == 255).all()
        assert (slide.read_region(-50, -50, -10, -10) == 255).all()
        with pytest.raises(ValueError, match="no area"):
            slide.read_region(5, 5, 5, 9)


def test_only_the_tiles_that_a_window_touches_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(64, 64), compression="deflate")
    with open_slide(path) as slide:
        slide.read_region(70, 70, 100, 100)
        assert slide.n_tiles_decoded == 1
        slide.read_region(70, 70, 140, 100)
        assert slide.n_tiles_decoded == 2


def test_in_reading_order_every_tile_is_decoded_once_with_two_rows_of_tiles_cached(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture_of(512, 640), photometric="rgb", tile=(64, 64), compression="deflate")
    corners = np.random.default_rng(0).integers(0, [600, 472], (1500, 2))
    two_rows = 2 * 64 * (640 + 4 * 64) * 3
    with open_slide(path, cache_bytes=two_rows) as slide:
        for index in slide.reading_order(corners[:, 0], corners[:, 1]):
            x, y = (int(value) for value in corners[index])
            slide.read_region(x, y, x + 40, y + 40)
        assert slide.n_tiles_decoded == 80


def test_a_cache_smaller_than_a_row_of_tiles_costs_only_the_seams_of_bands(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture_of(512, 640), photometric="rgb", tile=(64, 64), compression="deflate")
    corners = np.random.default_rng(0).integers(0, [600, 472], (1500, 2))
    # room for bands of four tiles: three bands over ten tiles, hence two seams of eight tiles
    with open_slide(path, cache_bytes=2 * 64 * (4 + 2) * 64 * 3) as slide:
        for index in slide.reading_order(corners[:, 0], corners[:, 1]):
            x, y = (int(value) for value in corners[index])
            slide.read_region(x, y, x + 40, y + 40)
        assert 80 <= slide.n_tiles_decoded <= 80 + 2 * 8


def save_all_kinds(folder: Path) -> list[Path]:
    image = Image.fromarray(RGB)
    image.save(folder / "a.png")
    image.save(folder / "a.jpg")
    image.save(folder / "progressive.jpg", progressive=True)
    tifffile.imwrite(folder / "tiled.tif", RGB, photometric="rgb", tile=(64, 64), compression="deflate")
    tifffile.imwrite(folder / "plain.tif", RGB, photometric="rgb")
    image.save(folder / "headers_last.tif", compression="tiff_lzw")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_a_truncated_file_is_named_in_one_line_when_probed_and_when_opened(tmp_path: Path, kept: float) -> None:
    for path in save_all_kinds(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        for attempt in (probe_image, open_slide):
            with pytest.raises(ImageError) as caught:
                attempt(path)
            assert caught.value.line.startswith(str(path))
            assert "\n" not in str(caught.value)


def test_damage_within_the_pixels_is_one_line_when_they_are_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(64, 64), compression="deflate")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    with open_slide(path) as slide, pytest.raises(ImageError, match="cannot be decoded"):
        windows(slide)
    assert capfd.readouterr().err == ""


def test_damage_within_a_png_is_one_line_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    Image.fromarray(RGB).save(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    with pytest.raises(ImageError, match="cannot be decoded"):
        open_slide(path)


def test_files_that_are_no_image_say_what_is_supported(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    empty = tmp_path / "empty.tif"
    empty.touch()
    for path, problem in {
        text: "supported format",
        empty: "is empty",
        tmp_path / "none.tif": "does not exist",
        tmp_path: "is a folder",
    }.items():
        for attempt in (probe_image, open_slide):
            with pytest.raises(ImageError, match=problem):
                attempt(path)


def test_a_stack_and_a_fluorescence_image_are_refused(tmp_path: Path) -> None:
    stack, stains = tmp_path / "stack.ome.tif", tmp_path / "stains.ome.tif"
    tifffile.imwrite(stack, np.zeros((5, 40, 50), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    tifffile.imwrite(stains, np.zeros((5, 40, 50), np.uint8), photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(ImageError, match="stack of shape"):
        open_slide(stack)
    with pytest.raises(ImageError, match="5 channels"):
        open_slide(stains)


def test_what_has_no_windows_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png, tif = tmp_path / "slide.png", tmp_path / "slide.tif"
    Image.fromarray(RGB).save(png)
    tifffile.imwrite(tif, RGB, photometric="rgb", compression="deflate", rowsperstrip=HEIGHT)
    monkeypatch.setattr(picture, "MAX_PICTURE_PIXELS", 1000)
    monkeypatch.setattr(tiff, "MAX_SEGMENT_BYTES", 1000)
    with pytest.raises(ImageError, match="at most 1,000 pixels"):
        probe_image(png)
    with pytest.raises(ImageError, match="no windows"):
        open_slide(tif)


def test_pillows_own_pixel_limit_neither_binds_nor_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slide.jpg"
    Image.fromarray(RGB).save(path)
    monkeypatch.setattr(picture, "_STRIP_PIXELS", 10 * WIDTH)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * WIDTH)
    with open_slide(path) as slide:
        assert slide.read_region(0, 0, 9, 9).shape == (9, 9, 3)
    assert Image.MAX_IMAGE_PIXELS == 10 * WIDTH

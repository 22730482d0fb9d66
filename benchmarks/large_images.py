"""Patches of large images: memory, rate, and whether reading keeps the encoder busy.

usage: large_images.py [--side 40000] [--patch 224] [--spots 20000] [--image PATH ...] [--encode 1024]
                       [--models texture resnet18] [--device cpu] [--compression jpeg] [--folder DIR]

Makes a square, tiled, pyramidal TIFF of simulated tissue, tile by tile, in a temporary folder, and takes it and every
``--image`` in turn. Each figure comes from a process of its own:

extract  patches a second that are read and resized for the texture encoder, with no encoder behind them; the process's
         peak resident memory, and what it held once its libraries were loaded
encode   patches a second of an encoder through stalign's pipeline, and of the bare encoder on the same patches in
         memory; their ratio says how busy the encoder is kept. ``resnet18`` is timm's, with random weights.
         On a machine that is shared the ratio suffers: then compare the processor time that a patch takes in either

``--side 10000`` is a quick run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common.memory import MEBIBYTE

from stalign_assets.measure import high_water_mark

TILE = 512
BATCH = 64
REPEATS = 2
N_LEVELS = 4
TISSUE_TILES = 48
"""Different tiles that the simulated tissue is laid out of, in a random order."""
BYTES_PER_PIXEL = 0.6
"""Upper bound of what the TIFF needs on disk, per pixel of its finest level."""


def make_slide(path: Path, side: int, compression: str) -> None:
    """Write the TIFF; one tile at a time is in memory."""
    import tifffile

    tiles = tissue_tiles()
    options = {"photometric": "rgb", "tile": (TILE, TILE), "compression": compression, "dtype": np.uint8}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(N_LEVELS):
            length = side >> level
            n_tiles = (-(-length // TILE)) ** 2
            order = np.random.default_rng(level).integers(0, len(tiles), n_tiles)
            below = {"subifds": N_LEVELS - 1} if level == 0 else {"subfiletype": 1}
            writer.write((tiles[tile] for tile in order), shape=(length, length, 3), **options, **below)


def tissue_tiles() -> np.ndarray:
    """Tiles (n, TILE, TILE, 3) with nuclei of different density on stroma."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    made = []
    for index in range(TISSUE_TILES):
        nuclei = ndimage.gaussian_filter((rng.random((TILE, TILE)) < 0.0005 * (1 + index % 8)).astype(float), 4)
        stroma = ndimage.gaussian_filter(rng.normal(size=(TILE, TILE)), 6)
        stain = np.clip(nuclei * 90, 0, 1)[..., None]
        color = (1 - stain) * np.array([232, 170, 200]) + stain * np.array([80, 50, 130])
        shaded = color + 120 * stroma[..., None] + rng.normal(0, 2, (TILE, TILE, 1))
        made.append(np.clip(shaded, 0, 255).astype(np.uint8))
    return np.stack(made)


def spot_centers(width: int, height: int, n_spots: int) -> np.ndarray:
    """Centres (n, 2) of a square lattice over the image, as (x, y)."""
    pitch = float(np.sqrt(width * height / n_spots))
    x, y = np.meshgrid(np.arange(pitch / 2, width, pitch), np.arange(pitch / 2, height, pitch))
    return np.column_stack([x.ravel(), y.ravel()])


def extract(image: Path, patch: int, n_spots: int) -> dict[str, float]:
    """Read the patches of all spots, and drop them."""
    from stalign_core.images import open_slide
    from stalign_core.morphology.encoders.texture import prepare
    from stalign_core.morphology.patches import PatchReader, prefetched

    before = high_water_mark() / MEBIBYTE
    opening = time.perf_counter()
    with open_slide(image) as slide:
        opened, cpu = time.perf_counter(), time.process_time()
        reader = PatchReader(slide, spot_centers(slide.width, slide.height, n_spots), patch)
        n_read = sum(len(spots) for spots, _ in prefetched(reader.batches(64, prepare)))
        seconds, cpu = time.perf_counter() - opened, time.process_time() - cpu
        n_tiles = slide.n_tiles_decoded
    return {
        "open_s": opened - opening,
        "patches": n_read,
        "rate": n_read / seconds,
        "cpu_ms": 1000 * cpu / n_read,
        "tiles": n_tiles,
        "baseline_mb": before,
        "peak_mb": high_water_mark() / MEBIBYTE,
    }


def encode(image: Path, patch: int, n_spots: int, n_encoded: int, model: str, device: str) -> dict[str, float]:
    """Encode the first patches through the pipeline, and the same ones from memory."""
    from stalign_core.images import open_slide
    from stalign_core.morphology.embedding import encode_patches
    from stalign_core.morphology.patches import PatchReader

    encoder = loaded_encoder(model, device)
    with open_slide(image) as slide:
        centers = spot_centers(slide.width, slide.height, n_spots)[:n_encoded]
        batches = [made for _, made in PatchReader(slide, centers, patch).batches(BATCH, encoder.prepare)]
    encoder.encode(batches[0])
    bare = through = cpu = 0.0
    # Half and half, in turn: other programs may share the processor.
    for _ in range(REPEATS):
        started, used = time.perf_counter(), time.process_time()
        for batch in batches:
            encoder.encode(batch)
        bare += time.perf_counter() - started
        cpu += time.process_time() - used
        with open_slide(image) as slide:
            started = time.perf_counter()
            encode_patches(encoder, PatchReader(slide, centers, patch), BATCH)
            through += time.perf_counter() - started
    n = REPEATS * sum(map(len, batches))
    return {
        "patches": n,
        "bare_rate": n / bare,
        "cpu_ms": 1000 * cpu / n,
        "pipeline_rate": n / through,
        "busy": bare / through,
    }


def loaded_encoder(model: str, device: str) -> Any:
    """``texture``, or a model of timm with random weights."""
    from stalign_core.morphology import load_encoder
    from stalign_core.settings import EncoderSettings

    if model == "texture":
        return load_encoder(model, EncoderSettings(), device)
    import timm
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(timm.create_model(model, pretrained=False).state_dict(), weights)
        return load_encoder(model, EncoderSettings(model=f"timm:{model}", weights=str(weights)), device)


def in_own_process(*arguments: object) -> dict[str, Any]:
    """What one step prints."""
    printed = subprocess.run(
        [sys.executable, __file__, "--step", json.dumps([str(each) for each in arguments])],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])


def run_step(step: str, image: str, *numbers: str) -> dict[str, float]:
    """One step, in this process."""
    if step == "make":
        make_slide(Path(image), int(numbers[0]), numbers[1])
        return {"peak_mb": high_water_mark() / MEBIBYTE}
    if step == "extract":
        return extract(Path(image), int(numbers[0]), int(numbers[1]))
    return encode(Path(image), int(numbers[0]), int(numbers[1]), int(numbers[2]), numbers[3], numbers[4])


def report(image: Path, chosen: argparse.Namespace) -> None:
    """Print the figures of one image."""
    found = in_own_process("extract", image, chosen.patch, chosen.spots)
    print(
        f"{image.name}: {found['patches']:,} patches of {chosen.patch} pixels, {found['rate']:,.0f}/s "
        f"({found['cpu_ms']:.2f} ms of processor time each), {found['tiles']:,} tiles decoded, "
        f"opened in {found['open_s']:.1f} s; "
        f"peak {found['peak_mb']:,.0f} MB, of which {found['baseline_mb']:,.0f} MB libraries",
        flush=True,
    )
    for model in chosen.models:
        found = in_own_process("encode", image, chosen.patch, chosen.spots, chosen.encode, model, chosen.device)
        print(
            f"  {model}: {found['pipeline_rate']:,.1f} patches/s through the pipeline, {found['bare_rate']:,.1f} bare "
            f"({found['cpu_ms']:.2f} ms of processor time each), ratio {found['busy']:.2f}",
            flush=True,
        )


def main() -> None:
    """Print the figures of every image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=40_000, help="of the simulated TIFF; 0: none")
    parser.add_argument("--patch", type=int, default=224)
    parser.add_argument("--spots", type=int, default=20_000, help="on each image")
    parser.add_argument("--image", type=Path, nargs="*", default=[])
    parser.add_argument("--encode", type=int, default=1024, help="patches that are encoded")
    parser.add_argument("--models", nargs="*", default=["texture", "resnet18"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compression", default="jpeg", choices=["jpeg", "deflate"])
    parser.add_argument("--folder", type=Path, help="for the TIFF; the system's temporary folder unless given")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        print(json.dumps(run_step(*json.loads(chosen.step))))
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.side:
            needed = int(chosen.side**2 * BYTES_PER_PIXEL)
            if shutil.disk_usage(folder).free < needed:
                raise SystemExit(f"{folder} has no {needed / 1e9:.1f} GB free; name another with --folder")
            slide = Path(folder) / f"simulated_{chosen.side}.tif"
            made = in_own_process("make", slide, chosen.side, chosen.compression)
            print(
                f"{slide.name}: {slide.stat().st_size / 1e6:,.0f} MB, written with {made['peak_mb']:,.0f} MB of memory"
            )
            report(slide, chosen)
        for image in chosen.image:
            report(image, chosen)


if __name__ == "__main__":
    main()

"""How fast the AESTETIK model trains on a GPU, against what the card could do.

usage: aestetik_gpu.py [--spots 1000000] [--passes 100] [--window 5] [--batch-size 16384] [--precision 32-true]
       [--devices 1] [--device cuda]

Trains on a synthetic cohort (sections of 5,000 spots, 20 + 20 channels, 7 domains) and prints seconds of training and
of everything, microseconds per spot and pass, peak device memory, and the arithmetic and memory traffic that the
model needs per second, beside the card's limits. Both are counted from the model's shape, not measured: each matrix
product of the forward pass twice more in the backward pass; each gathered or written row once. Without a GPU it says
so and ends with 3; `--device cpu` runs the same on the CPU, for a small cohort.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from common.synthetic import synthetic_cohort

from stalign_core.aestetik import Aestetik, AestetikSettings

N_DOMAINS, N_CHANNELS = 7, 20
FLOAT_BYTES, INDEX_BYTES = 4, 8
LIMITS = {
    "H200": (67e12, 4.8e12),
    "H100": (67e12, 3.35e12),
    "A100": (19.5e12, 2.0e12),
    "L40S": (91.6e12, 0.864e12),
    "T4": (8.1e12, 0.32e12),
}
"""Single-precision operations and bytes of memory per second, from the vendor's data sheets (SXM forms)."""


def operations_per_spot(settings: AestetikSettings, overlap: float) -> float:
    """Floating-point operations of one spot in one training step.

    `overlap` is how many convolutions a spot costs: 1 where batches are whole sections, a little more at the edges
    of the tiles that batches are made of.
    """
    channels = 2 * N_CHANNELS
    kernel = min(3, settings.window) ** 2
    pool = (settings.window - min(3, settings.window) + 1) ** 2
    encoder = overlap * 2 * kernel * channels * settings.n_hidden + pool * settings.n_hidden
    encoder += 2 * settings.n_hidden * settings.n_latent
    decoder = 2 * settings.n_latent * settings.n_hidden + 2 * settings.n_hidden * channels
    triplets = 2 * 2 * (N_DOMAINS - 1) * 3 * settings.n_latent
    return 3 * (encoder + decoder + triplets)


def bytes_per_spot(settings: AestetikSettings, overlap: float) -> float:
    """Bytes that one spot moves in one training step: gathers, activations and their gradients."""
    channels = 2 * N_CHANNELS
    kernel = min(3, settings.window) ** 2
    pool = (settings.window - min(3, settings.window) + 1) ** 2
    patches = overlap * kernel * (2 * channels * FLOAT_BYTES + INDEX_BYTES)
    hidden = overlap * 8 * settings.n_hidden * FLOAT_BYTES
    pooling = 2 * pool * (settings.n_hidden * FLOAT_BYTES + INDEX_BYTES)
    partners = 2 * 2 * 2 * (N_DOMAINS - 1) * (settings.n_latent * FLOAT_BYTES + INDEX_BYTES)
    return patches + hidden + pooling + partners + 4 * channels * FLOAT_BYTES


def mean_overlap(cohort, settings: AestetikSettings) -> float:
    """Convolutions per spot in one epoch's batches."""
    from stalign_core.aestetik.lattice_views import tile_batches
    from stalign_core.aestetik.windows import build_windows, make_batch

    table = build_windows(cohort.lattice, cohort.sample, settings.window)
    tiles = torch.from_numpy(np.column_stack([cohort.sample, cohort.lattice]))
    batches = tile_batches(tiles, settings.batch_size, torch.Generator().manual_seed(0))
    return sum(len(make_batch(table, spots).cells) for spots in batches) / len(tiles)


def describe_limits(settings: AestetikSettings, overlap: float, spots_per_second: float) -> str:
    """What was achieved, and the share of the card's limits."""
    operations = operations_per_spot(settings, overlap) * spots_per_second
    traffic = bytes_per_spot(settings, overlap) * spots_per_second
    line = f"needed: {operations / 1e12:.2f} TFLOP/s and {traffic / 1e9:.0f} GB/s"
    if not torch.cuda.is_available():
        return line
    name = torch.cuda.get_device_name()
    for known, limits in LIMITS.items():
        if known in name:
            shares = [
                used / (limit * settings.devices) for used, limit in zip((operations, traffic), limits, strict=True)
            ]
            return f"{line}: {shares[0]:.1%} and {shares[1]:.1%} of the limits of {name}"
    return f"{line}; the limits of {name} are not in this script"


def main() -> None:
    """Train once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=1_000_000)
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16_384)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: PyTorch sees none; run this where there is one, or with --device cpu and fewer --spots")
        sys.exit(3)
    settings = AestetikSettings(
        window=chosen.window,
        epochs=chosen.passes,
        batch_size=chosen.batch_size,
        precision=chosen.precision,
        device=chosen.device,
        devices=chosen.devices,
    )
    cohort = synthetic_cohort(chosen.spots, N_CHANNELS, N_DOMAINS)
    arguments = (cohort.expression, cohort.morphology, cohort.lattice, cohort.sample)
    overlap = mean_overlap(cohort, settings)
    ends: list[float] = []
    start = time.perf_counter()
    model = Aestetik(settings).fit(
        *arguments, n_domains=N_DOMAINS, progress=lambda *_: ends.append(time.perf_counter())
    )
    fitted = time.perf_counter()
    model.embed(*arguments)
    embedded = time.perf_counter()
    each = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else fitted - start
    print(f"{chosen.spots:,} spots, window {chosen.window}, {chosen.passes} passes, batches of {chosen.batch_size:,}")
    print(f"training {each * chosen.passes:.1f} s ({each / chosen.spots * 1e6:.3f} us per spot and pass)")
    print(f"fit in all {fitted - start:.1f} s (with windows and triplet groups), embedding {embedded - fitted:.1f} s")
    print(f"convolutions per spot {overlap:.2f}; {describe_limits(settings, overlap, chosen.spots / each)}")
    if chosen.device == "cuda":
        print(f"peak device memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()

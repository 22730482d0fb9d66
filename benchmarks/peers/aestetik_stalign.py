"""Our estimator on given features, as the published program is run: aestetik_stalign.py INPUT.npz OUTPUT.npz.

INPUT is that of aestetik_published.py with lattice (n, 2), hexagonal (n,) and preset. Epochs and batch size are heeded
by the reference preset; the default keeps its own.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from stalign_core.aestetik import Aestetik, AestetikSettings


def settings_of(given: np.lib.npyio.NpzFile) -> AestetikSettings:
    """The preset with the window and weight that are asked for, on the processor."""
    common = {
        "window": int(given["window"]),
        "morphology_weight": float(given["morphology_weight"]),
        "device": "cpu",
    }
    if str(given["preset"]) == "default":
        return AestetikSettings(**common)
    return AestetikSettings.reference(epochs=int(given["epochs"]), batch_size=int(given["batch_size"]), **common)


def main() -> None:
    """Fit, embed, write."""
    given = np.load(sys.argv[1])
    arguments = {name: given[name] for name in ("expression", "morphology", "lattice", "sample", "hexagonal")}
    ticks = []
    start = time.perf_counter()
    model = Aestetik(settings_of(given), int(given["seed"]))
    model.fit(**arguments, n_domains=int(given["n_domains"]), progress=lambda *_: ticks.append(time.perf_counter()))
    embedding = model.embed(**arguments)
    seconds = time.perf_counter() - start
    # The first epoch's start is not told: it would count the preparation.
    np.savez(sys.argv[2], embedding=embedding, seconds=seconds, epoch_seconds=np.diff(ticks))


if __name__ == "__main__":
    main()

"""The published program on given features: aestetik_published.py INPUT.npz OUTPUT.npz, run where `aestetik` is.

INPUT holds expression (n, t), morphology (n, m), array (n, 2), sample (n,), and numbers n_domains, window,
morphology_weight, epochs, passes, batch_size, seed, threads. OUTPUT gets embedding (n, 16), seconds of the whole fit
with its embedding, and epoch_seconds, one per epoch.
"""

from __future__ import annotations

import sys
import time

import anndata
import numpy as np
import pandas as pd
import torch
from aestetik import AESTETIK
from lightning.pytorch.callbacks import Callback


class Clock(Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self._start)


class TimedAestetik(AESTETIK):
    """The published estimator with a clock among its callbacks."""

    def _build_trainer(self):
        trainer, callbacks = super()._build_trainer()
        self.clock = Clock()
        trainer.callbacks.append(self.clock)
        return trainer, callbacks


def main() -> None:
    """Fit, embed, write."""
    given = np.load(sys.argv[1])
    torch.set_num_threads(int(given["threads"]))
    names = [f"spot{i}" for i in range(len(given["sample"]))]
    adata = anndata.AnnData(
        obs=pd.DataFrame(
            {
                "x_array": given["array"][:, 0],
                "y_array": given["array"][:, 1],
                "sample": given["sample"].astype(str),
            },
            index=names,
        ),
        obsm={"X_pca_transcriptomics": given["expression"], "X_pca_morphology": given["morphology"]},
    )
    model = TimedAestetik(
        morphology_weight=float(given["morphology_weight"]),
        n_cluster=int(given["n_domains"]),
        window_size=int(given["window"]),
        max_epochs=int(given["epochs"]),
        batch_size=min(int(given["batch_size"]), adata.n_obs),
        clustering_method="kmeans",
        refine_cluster=False,
        used_obs_batch="sample",
        num_repeats_predict=int(given["passes"]),
        random_state=int(given["seed"]),
    )
    start = time.perf_counter()
    model.fit(adata)
    seconds = time.perf_counter() - start
    np.savez(sys.argv[2], embedding=model.embedding_, seconds=seconds, epoch_seconds=model.clock.seconds)


if __name__ == "__main__":
    main()

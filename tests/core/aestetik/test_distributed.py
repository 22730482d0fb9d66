"""One training in two processes: seeded, continued after a kill, and as good as one process."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik import Aestetik, estimator
from stalign_core.aestetik.estimator import CHECKPOINT_FILE
from stalign_core.aestetik.lattice_views import LatticeViews
from stalign_core.aestetik.presets import PRESETS
from stalign_core.errors import SettingsError
from tests.core.aestetik.inputs import QUICK, model_arguments, striped_cohort

TWO = replace(QUICK, devices=2)
KILLED_AFTER_TWO_EPOCHS = """
import os, signal, sys
from tests.core.aestetik.test_distributed import TWO
from tests.core.aestetik.inputs import model_arguments, striped_cohort
from stalign_core.aestetik import Aestetik

def kill(what, done, total):
    if done == 2:
        os.killpg(0, signal.SIGKILL)

if __name__ == "__main__":
    Aestetik(TWO).fit(**model_arguments(striped_cohort()), n_domains=3, progress=kill, checkpoint_folder=sys.argv[1])
"""


def test_a_killed_training_in_two_processes_ends_as_if_it_had_never_stopped(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED_AFTER_TWO_EPOCHS, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path)]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    killed = subprocess.run(command, start_new_session=True, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / CHECKPOINT_FILE).is_file()

    arguments = model_arguments(striped_cohort())
    epochs = []
    resumed = Aestetik(TWO).fit(
        **arguments, n_domains=3, progress=lambda what, done, total: epochs.append(done), checkpoint_folder=tmp_path
    )
    whole = Aestetik(TWO).fit(**arguments, n_domains=3)
    assert epochs[-1] == 4
    assert epochs[0] >= 3
    assert resumed.history == whole.history
    assert resumed.embed(**arguments).tobytes() == whole.embed(**arguments).tobytes()


def test_two_processes_find_the_stripes_and_progress_can_end_them():
    cohort = striped_cohort()
    arguments = model_arguments(cohort)
    model = Aestetik(replace(TWO, epochs=20)).fit(**arguments, n_domains=3)
    found = KMeans(3, n_init=5, random_state=0).fit_predict(model.embed(**arguments))
    assert adjusted_rand_score(cohort["stripe"], found) > 0.9

    def refuse(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Aestetik(replace(TWO, epochs=1)).fit(**arguments, n_domains=3, progress=refuse)


def test_more_gpus_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(SettingsError, match=r"aestetik\.devices.* is 2, but PyTorch sees 1 GPUs"):
        Aestetik(replace(TWO, device="cuda")).fit(**model_arguments(striped_cohort()), n_domains=3)


class Crowded(LatticeViews):
    """Views of spots on a GPU whose memory holds but 80 of them, from a process's third step on."""

    def to(self, device):
        del device
        return self

    def reconstruct(self, network, spots, generator):
        object.__setattr__(self, "n_steps", getattr(self, "n_steps", 0) + 1)
        if self.n_steps > 2 and len(spots) > 80:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().reconstruct(network, spots, generator)


def test_memory_that_runs_out_halves_the_batches_of_all_processes_and_keeps_the_epochs_before(monkeypatch, tmp_path):
    crowded = replace(PRESETS["default"], views=lambda *given: Crowded(**vars(LatticeViews.of(*given))))
    monkeypatch.setattr(estimator, "PRESETS", {"default": crowded})
    epochs = []
    model = Aestetik(replace(TWO, batch_size=288)).fit(
        **model_arguments(striped_cohort()),
        n_domains=3,
        progress=lambda what, done, total: epochs.append(done),
        checkpoint_folder=tmp_path,
    )
    assert model.batch_size_reduced_to == 72
    assert epochs == [1, 2, 3, 4]
    assert np.isfinite([list(terms.values()) for terms in model.history]).all()

"""What a materialisation tells of the device that it ran on, and of a memory that did not hold what was asked for."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import torch

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.aestetik.network import Autoencoder
from stalign_core.devices import using_device
from stalign_core.store.store import UNPARTITIONED
from tests.assets.test_driver import Recorder

pytestmark = pytest.mark.slow

MODEL = "cohort/uncorrected/aestetik_model"


def shown(study: Path, asset: str) -> dict[str, object]:
    """Metadata of an asset's last materialisation."""
    with open_instance(open_study(study)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None and event.asset_materialization is not None
    return {name: entry.value for name, entry in event.asset_materialization.metadata.items()}


@pytest.mark.parametrize(
    ("asset", "precision"),
    [
        ("morphology_embeddings/texture", "float32"),
        (MODEL, "32-true"),
        ("cohort/uncorrected/spot_embeddings", "32-true"),
    ],
)
def test_device_and_precision_stand_in_the_metadata(finished_study: Path, asset: str, precision: str) -> None:
    found = shown(finished_study, asset)
    assert (found["device"], found["precision"]) == ("cpu", precision)
    assert "device_peak_memory_mb" not in found, "on the CPU the process's own peak is the device's"
    assert found["peak_memory_mb"] > 100


def test_a_batch_that_was_halved_is_said_on_the_terminal_and_stands_in_the_metadata(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Autoencoder.forward

    def limited(self, channels, table, batch):
        latent, decoded = whole(self, channels, table, batch)
        if len(latent) > 150:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return latent, decoded

    monkeypatch.setattr(Autoencoder, "forward", limited)
    set_value(study / "study.toml", "aestetik", "epochs", 3)
    console = Recorder()
    said: list[str] = []
    console.step_said = said.append  # type: ignore[method-assign]
    report = bring_up_to_date(Request.parse(study, scopes="cohort", variants="uncorrected"), console)
    assert report.success, report.lines()
    reduced = shown(study, MODEL)["batch_size_reduced_to"]
    assert isinstance(reduced, int) and 75 <= reduced <= 150
    line = f"GPU memory did not hold batches of 2048; they were reduced to {reduced}"
    assert f"warning: {line}" in said
    model = open_study(study).store.current(MODEL, UNPARTITIONED)
    assert model is not None and model.manifest.summary["warnings"] == [line]


def test_of_a_gpu_its_name_and_the_most_memory_that_was_held_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By PyTorch's own counters, which a stand-in plays where there is no GPU."""
    held = {"peak": 9e9}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: held.update(peak=0.0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: int(held["peak"]))
    with using_device("cuda", "bf16-mixed") as use:
        held["peak"] = max(held["peak"], 1_234_567_890)
    assert use.facts() == {
        "device": "cuda",
        "precision": "bf16-mixed",
        "device_name": "A GPU",
        "device_peak_memory_mb": 1234.6,
    }

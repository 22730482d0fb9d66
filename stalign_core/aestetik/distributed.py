"""One training on several devices: a process each, started by Lightning Fabric, gradients averaged between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.threads import one_thread
from stalign_core.aestetik.training import TrainingData, run_epochs
from stalign_core.errors import SettingsError
from stalign_core.progress import Progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Outcome = tuple[dict[str, NDArray[Any]], list[dict[str, float]]]
"""Weights and mean loss terms of each epoch."""


def train_on_several(
    model: nn.Module,
    data: TrainingData,
    settings: AestetikSettings,
    generator: Generator,
    progress: Progress,
    checkpoint: Path | None,
    identity: str,
) -> list[dict[str, float]]:
    """Train `model` in place, each of `settings.devices` processes taking its share of every batch.

    Arguments and result are those of `stalign_core.aestetik.training.train`; no batch is halved for want of memory. A
    script that calls this must guard its entry with ``if __name__ == "__main__"``, because the processes import it.

    Raises
    ------
    SettingsError
        If the machine has fewer GPUs than asked for.
    """
    from lightning.fabric import Fabric

    _check_devices(settings)
    fabric = Fabric(
        accelerator=settings.device, devices=settings.devices, strategy="ddp_spawn", precision=settings.precision
    )
    with _relayed(progress) as channel:
        # Bound beforehand: Lightning looks through plain arguments for networks, and refuses frozen dataclasses.
        process = partial(
            _run_process,
            data=data,
            settings=settings,
            random_state=generator.get_state(),
            channel=channel,
            checkpoint=checkpoint,
            identity=identity,
        )
        outcome: Outcome = fabric.launch(process, model)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in outcome[0].items()})
    return outcome[1]


def _check_devices(settings: AestetikSettings) -> None:
    n_gpus = torch.cuda.device_count()
    on_gpus = settings.device == "cuda" or (settings.device == "auto" and n_gpus > 0)
    if on_gpus and settings.devices > n_gpus:
        raise SettingsError(
            "aestetik.devices",
            f"is {settings.devices}, but PyTorch sees {n_gpus} GPUs",
            remedy=f"set it to at most {n_gpus}, or aestetik.device to 'cpu'",
        )


def _run_process(
    fabric: Fabric,
    model: nn.Module,
    *,
    data: TrainingData,
    settings: AestetikSettings,
    random_state: Tensor,
    channel: Any,
    checkpoint: Path | None,
    identity: str,
) -> Outcome:
    """One process of the training: the first one's weights and history reach the caller."""
    generator = Generator()
    generator.set_state(random_state)

    def report(what: str, done: int, total: int) -> None:
        channel.put((what, done, total))

    with one_thread():
        history = run_epochs(fabric, model, data, settings, generator, report, checkpoint, identity, None)
    # As arrays: a tensor's memory would be gone with the process that made it.
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}, history


@contextmanager
def _relayed(progress: Progress) -> Iterator[Any]:
    """A queue whose reports reach `progress` in this process; what it raises is raised when the training is over."""
    channel = torch.multiprocessing.get_context("spawn").SimpleQueue()
    raised: list[BaseException] = []

    def pass_on() -> None:
        while (report := channel.get()) is not None:
            try:
                progress(*report)
            except BaseException as error:
                raised.append(error)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield channel
    finally:
        channel.put(None)
        listener.join()
    if raised:
        raise raised[0]

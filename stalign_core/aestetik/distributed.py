"""One training on several devices: a process each, started by Lightning Fabric, gradients averaged between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from stalign_core.aestetik.memory import DoesNotFitError, FittingBatches
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
    fitting: FittingBatches,
) -> list[dict[str, float]]:
    """Train `model` in place, each of `settings.devices` processes taking its share of every batch.

    Arguments and result are those of `stalign_core.aestetik.training.train`. Where a share does not fit into the memory
    of its GPU, all processes end, and others go on from the checkpoint with batches that are halved. A script that
    calls this must guard its entry with ``if __name__ == "__main__"``, because the processes import it.

    Raises
    ------
    SettingsError
        If the machine has fewer GPUs than asked for.
    ModelError
        If memory does not hold the smallest batch.
    """
    _check_devices(settings)
    # Bound beforehand: Lightning looks through plain arguments for networks, and refuses frozen dataclasses.
    process = partial(
        _run_process,
        data=data,
        settings=settings,
        random_state=generator.get_state(),
        checkpoint=checkpoint,
        identity=identity,
    )
    outcome: Outcome | None = None
    while outcome is None:
        outcome = _launched(partial(process, fitting=fitting), model, settings, progress, fitting)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in outcome[0].items()})
    return outcome[1]


def _launched(
    process: Callable[..., Outcome],
    model: nn.Module,
    settings: AestetikSettings,
    progress: Progress,
    fitting: FittingBatches,
) -> Outcome | None:
    """What the processes give; None where a batch did not fit, and `fitting` was told."""
    from lightning.fabric import Fabric
    from torch.multiprocessing.spawn import ProcessException

    fabric = Fabric(
        accelerator=settings.device, devices=settings.devices, strategy="ddp_spawn", precision=settings.precision
    )
    too_many: list[int] = []
    try:
        with _relayed(progress, too_many.append) as channel:
            outcome: Outcome = fabric.launch(partial(process, channel=channel), model)
            return outcome
    except ProcessException:
        if not too_many:
            raise
    fitting.halve(min(too_many))
    return None


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
    fitting: FittingBatches,
) -> Outcome:
    """One process of the training: the first one's weights and history reach the caller."""
    generator = Generator()
    generator.set_state(random_state)

    def report(what: str, done: int, total: int) -> None:
        channel.put((what, done, total))

    try:
        with one_thread():
            history = run_epochs(fabric, model, data, settings, generator, report, checkpoint, identity, fitting)
    except DoesNotFitError as error:
        channel.put(error.n_spots)
        raise
    # As arrays: a tensor's memory would be gone with the process that made it.
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}, history


@contextmanager
def _relayed(progress: Progress, too_many: Callable[[int], None]) -> Iterator[Any]:
    """A queue whose reports reach `progress` in this process, and spots that did not fit `too_many`.

    What `progress` raises is raised when the training is over.
    """
    channel = torch.multiprocessing.get_context("spawn").SimpleQueue()
    raised: list[BaseException] = []

    def pass_on() -> None:
        while (report := channel.get()) is not None:
            if isinstance(report, int):
                too_many(report)
                continue
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

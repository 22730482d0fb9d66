"""A GPU whose memory does not hold a batch: networks that raise PyTorch's own error stand for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from stalign_core.aestetik import Aestetik
from stalign_core.aestetik.memory import FEWEST, DoesNotFitError, FittingBatches
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.errors import ModelError
from tests.core.aestetik.inputs import QUICK, model_arguments, striped_cohort

LARGE = replace(QUICK, batch_size=288, epochs=30)


def hold_at_most(monkeypatch: pytest.MonkeyPatch, most: int, from_call: int = 0) -> list[int]:
    """Let the network's forward pass run out of memory above so many spots; returns the sizes that it was given."""
    sizes: list[int] = []
    whole = Autoencoder.forward

    def limited(self, channels, table, batch):
        latent, decoded = whole(self, channels, table, batch)
        sizes.append(len(latent))
        if len(sizes) > from_call and len(latent) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return latent, decoded

    monkeypatch.setattr(Autoencoder, "forward", limited)
    return sizes


def fitted(settings: AestetikSettings) -> Aestetik:
    return Aestetik(settings, 0).fit(**model_arguments(striped_cohort()), n_domains=3)


def test_batches_are_halved_until_they_fit_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = hold_at_most(monkeypatch, 80)
    model = fitted(LARGE)
    assert sizes == [288, 144, *[72] * 4 * 30]
    assert model.batch_size_reduced_to == 72
    assert len(model.history) == 30
    totals = [sum(terms.values()) for terms in model.history]
    assert np.isfinite(totals).all() and totals[-1] < totals[0]
    assert model.embed(**model_arguments(striped_cohort())).shape == (288, QUICK.n_latent)


def test_memory_that_runs_out_later_costs_only_the_batch_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program takes its share in the middle: epochs before stand, and every spot is still trained on."""
    sizes = hold_at_most(monkeypatch, 150, from_call=10)
    model = fitted(LARGE)
    assert sizes == [*[288] * 11, *[144] * 2 * 20]
    assert model.batch_size_reduced_to == 144


def test_a_memory_that_holds_everything_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    untouched = fitted(QUICK).embed(**model_arguments(striped_cohort()))
    hold_at_most(monkeypatch, 288)
    model = fitted(QUICK)
    assert model.batch_size_reduced_to is None
    assert model.embed(**model_arguments(striped_cohort())).tobytes() == untouched.tobytes()


def test_memory_that_holds_no_batch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_at_most(monkeypatch, 0)
    with pytest.raises(ModelError) as caught:
        fitted(LARGE)
    assert caught.value.line == (
        "aestetik.device: GPU memory does not hold the model and a batch of 36 spots; "
        "set aestetik.device to 'cpu', or free the GPU of other programs"
    )


def test_parts_hold_every_spot_once_and_in_order() -> None:
    fitting = FittingBatches()
    taken: list[int] = []

    def step(spots: torch.Tensor) -> int:
        if len(spots) > 100:
            raise torch.cuda.OutOfMemoryError("out of memory")
        taken.extend(spots.tolist())
        return len(spots)

    assert list(fitting.each_part(torch.arange(0, 150), step)) == [75, 75]
    assert list(fitting.each_part(torch.arange(150, 403), step)) == [64, 63, 63, 63]
    assert taken == list(range(403))
    assert (fitting.reduced_to, FEWEST) == (75, 32)


def test_processes_take_as_many_steps_each_on_its_share() -> None:
    fitting = FittingBatches()
    fitting.halve(80)
    batch = torch.arange(163)
    shares = [list(fitting.each_share(batch, torch.Tensor.tolist, 2, process)) for process in (0, 1)]
    assert [len(part) for part in shares[0]] == [28, 27, 27]
    assert [len(part) for part in shares[1]] == [27, 27, 27]
    assert sorted(spot for of_process in shares for part in of_process for spot in part) == list(range(163))


def test_a_share_that_does_not_fit_is_not_halved_by_its_process_alone() -> None:
    def step(_: torch.Tensor) -> int:
        raise torch.cuda.OutOfMemoryError("out of memory")

    fitting = FittingBatches()
    with pytest.raises(DoesNotFitError) as caught:
        next(fitting.each_share(torch.arange(101), step, 2, 0))
    assert (caught.value.n_spots, fitting.reduced_to) == (51, None)
    with pytest.raises(ModelError, match="a batch of 51 spots"):
        fitting.halve(caught.value.n_spots)

"""What a preset consists of: how it scales, what it sees, what it learns. Training and storage are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Generator, nn

from stalign_core.aestetik.inputs import ModelInput, Scaling, fit_scaling
from stalign_core.aestetik.labels import group_labels
from stalign_core.aestetik.lattice_views import LatticeViews
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.reference.labels import best_group_labels
from stalign_core.aestetik.reference.network import EnsembleAutoencoder
from stalign_core.aestetik.reference.scaling import fit_range
from stalign_core.aestetik.reference.views import WindowViews
from stalign_core.aestetik.settings import AestetikSettings, TripletLabels
from stalign_core.aestetik.views import Views

Grouping = Callable[
    [NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], int, TripletLabels, np.random.Generator, bool],
    NDArray[np.int64],
]


@dataclass(frozen=True)
class Preset:
    """One way to build the model.

    Attributes
    ----------
    fit_scaling
        Origin and unit of the channels.
    views
        What the network sees of scaled input.
    network
        A fresh network for so many channels.
    group
        Finds the groups that positives and negatives are drawn from, as `group_labels` does.
    """

    fit_scaling: Callable[[ModelInput], Scaling]
    views: Callable[[ModelInput, Scaling, AestetikSettings], Views]
    network: Callable[[int, AestetikSettings, Generator], nn.Module]
    group: Grouping


PRESETS: Final[Mapping[str, Preset]] = {
    "default": Preset(fit_scaling, LatticeViews.of, Autoencoder.of, group_labels),
    "reference": Preset(fit_range, WindowViews.of, EnsembleAutoencoder.of, best_group_labels),
}

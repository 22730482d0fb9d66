"""What a preset consists of: how it scales, what it sees, what it learns. Training and storage are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Generator, nn

from stalign_core.aestetik.inputs import ModelInput, Scaling, fit_scaling
from stalign_core.aestetik.lattice_views import LatticeViews
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.reference.network import EnsembleAutoencoder
from stalign_core.aestetik.reference.scaling import fit_range
from stalign_core.aestetik.reference.views import WindowViews
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.views import Views


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
    """

    fit_scaling: Callable[[ModelInput], Scaling]
    views: Callable[[ModelInput, Scaling, AestetikSettings], Views]
    network: Callable[[int, AestetikSettings, Generator], nn.Module]


PRESETS: Final[Mapping[str, Preset]] = {
    "default": Preset(fit_scaling, LatticeViews.of, Autoencoder.of),
    "reference": Preset(fit_range, WindowViews.of, EnsembleAutoencoder.of),
}

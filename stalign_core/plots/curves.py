"""How losses fell during a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stalign_core.plots.canvas import new_figure, to_png
from stalign_core.plots.palette import color_map

_LOG_SCALE_ABOVE: Final = 30
"""Largest over smallest value from which the axis is logarithmic."""


def loss_curves(losses: Mapping[str, Sequence[float] | npt.NDArray[Any]], *, title: str = "") -> bytes:
    """Draw each loss against the epoch.

    Parameters
    ----------
    losses
        By name, one value per epoch; NaN leaves a gap.
    title
        Above the curves.

    Returns
    -------
    PNG bytes.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(6.4, 3.8)
    ax = figure.subplots()
    colors = color_map(list(losses))
    for name, values in losses.items():
        epochs = np.arange(1, len(values) + 1)
        ax.plot(epochs, values, color=colors[name], label=name, linewidth=1.8, marker="." if len(values) < 15 else "")
    everything = np.concatenate([np.asarray(values, dtype=float) for values in losses.values()])
    finite = everything[np.isfinite(everything)]
    if len(finite) and finite.min() > 0 and finite.max() / finite.min() > _LOG_SCALE_ABOVE:
        ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#E5E5E5")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    if title:
        ax.set_title(title, loc="left", fontsize=12)
    return to_png(figure)

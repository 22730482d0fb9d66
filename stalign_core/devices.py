"""Where networks run."""

from __future__ import annotations

from typing import Final, Literal

from stalign_core.errors import SettingsError

Device = Literal["auto", "cpu", "cuda"]

DETERMINISM: Final = {
    "cpu": "deterministic on the CPU for the same thread count",
    "cuda": "run on a GPU, where the order of sums may differ from run to run",
}
"""What can be promised of a result, by where it was computed."""


def resolve_device(wanted: str, setting: str) -> Literal["cpu", "cuda"]:
    """The device that a setting means on this machine; ``"auto"`` takes the GPU where there is one.

    Raises
    ------
    SettingsError
        If a GPU is asked for and PyTorch sees none.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise SettingsError(setting, "is 'cuda', but PyTorch sees no GPU", remedy="set it to 'auto' or 'cpu'")
    return "cpu" if wanted == "cpu" or not available else "cuda"

"""Where networks run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from stalign_core.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows = TypeVar("Rows", bound=Any)

_MEGABYTE: Final = 1e6

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


@dataclass
class DeviceUse:
    """Where something ran, for its record.

    Attributes
    ----------
    device
        ``cpu`` or ``cuda``.
    precision
        By Lightning's name, such as ``32-true``.
    name
        The GPU's name; empty for the CPU, whose memory is that of the process.
    peak_memory_bytes
        Most memory of the GPU that this process held at once.
    """

    device: str
    precision: str
    name: str = ""
    peak_memory_bytes: int = 0

    def facts(self) -> dict[str, Any]:
        """Plain JSON values."""
        known: dict[str, Any] = {"device": self.device, "precision": self.precision}
        if self.device == "cuda":
            known["device_name"] = self.name
            known["device_peak_memory_mb"] = round(self.peak_memory_bytes / _MEGABYTE, 1)
        return known


@contextmanager
def using_device(device: str, precision: str) -> Iterator[DeviceUse]:
    """Note what is used of a device until the block ends: of a GPU, its memory's high-water mark."""
    use = DeviceUse(device, precision)
    if device != "cuda":
        yield use
        return
    import torch

    use.name = torch.cuda.get_device_name()
    torch.cuda.reset_peak_memory_stats()
    try:
        yield use
    finally:
        use.peak_memory_bytes = torch.cuda.max_memory_allocated()


def in_halves(forward: Callable[[Rows], NDArray[Any]], rows: Rows, batch_size: int) -> tuple[NDArray[Any], int]:
    """Apply `forward` to rows in batches of `batch_size`, halved whenever the memory of the GPU runs out.

    Parameters
    ----------
    forward
        Takes a slice of `rows` and gives an array with as many rows.
    rows
        (n, ...), anything that can be sliced by rows.

    Returns
    -------
    All that `forward` gave, stacked, and the batch size that fitted.

    Raises
    ------
    torch.cuda.OutOfMemoryError
        If memory does not hold a single row.
    """
    import numpy as np
    import torch

    parts: list[NDArray[Any]] = []
    start, n_rows = 0, rows.shape[0]
    while start < n_rows:
        try:
            parts.append(forward(rows[start : start + batch_size]))
            start += batch_size
            continue
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
        # Here the error is gone, and with it what it held of the attempt.
        batch_size = max(1, min(batch_size, n_rows - start) // 2)
        torch.cuda.empty_cache()
    return np.concatenate(parts), batch_size

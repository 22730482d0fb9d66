"""The state of a training between two epochs, as one safetensors file that is replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer


def write_checkpoint(
    path: Path,
    identity: str,
    model: nn.Module,
    optimiser: Optimizer,
    generator: Generator,
    history: list[dict[str, float]],
) -> None:
    """Write everything that the next epoch follows from; a kill leaves the old file or the new one, whole."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors["generator"] = generator.get_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        str(draft),
        metadata={"identity": identity, "history": json.dumps(history)},
    )
    draft.replace(path)


def read_checkpoint(
    path: Path,
    identity: str,
    model: nn.Module,
    optimiser: Optimizer,
    generator: Generator,
    history: list[dict[str, float]],
) -> bool:
    """Restore the state in `path` into the arguments, if it is there, whole and of this `identity`.

    Returns
    -------
    Whether it was restored. A missing, foreign or damaged file leaves the arguments as they are.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("identity") != identity:
                return False
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return False
    model.load_state_dict(_below("model.", tensors))
    optimiser.load_state_dict(_optimiser_state(optimiser, _below("optimiser.", tensors)))
    generator.set_state(tensors["generator"])
    history[:] = json.loads(facts["history"])
    return True


def _optimiser_state(optimiser: Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

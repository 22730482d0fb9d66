"""Where the weights of a network come from: a local checkpoint, the local cache of the hub, or the hub itself."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_core.errors import EncoderError
from stalign_core.morphology.encoders.records import EncoderRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".bin")
CONNECT_SECONDS: Final = 5.0
"""How long the hub may take to answer before it counts as out of reach."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_N_KEYS_SHOWN = 3


def find_weights(record: EncoderRecord, encoder_name: str, checkpoint: str | None, revision: str | None = None) -> Path:
    """The file that holds the encoder's weights, downloaded from the hub where it must be.

    Parameters
    ----------
    record
        The encoder, which must need weights.
    encoder_name
        Its name among the study's encoders.
    checkpoint
        The setting `weights`.
    revision
        The setting `revision`: commit, tag or branch on the hub; None for the newest.

    Raises
    ------
    EncoderError
        If the checkpoint is missing or of an unknown kind, or if there is none and the hub cannot give one;
        the line names the setting.
    """
    setting = f"encoders.{encoder_name}.weights"
    if checkpoint is not None:
        return _local_checkpoint(setting, checkpoint)
    if not record.hub:
        raise _no_weights(record, setting, "no published weights are known")
    cached = _cached(record.hub, revision)
    return cached if cached is not None else _download(record, setting, revision)


def hub_revision(weights: Path) -> str:
    """The commit that weights were published with, as the hub's cache files them; empty for any other file."""
    folder = weights.parent
    return folder.name if folder.parent.name == "snapshots" else ""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name; nothing but tensors is unpickled.

    Raises
    ------
    EncoderError
        If the file is damaged, or holds anything but named tensors.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # torch and safetensors raise many types on a damaged file
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise EncoderError(
            str(path), f"cannot be read as weights ({reason})", expected="a state dict of tensors"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise EncoderError(str(path), "holds no state dict", expected="named tensors, as model.state_dict() gives")
    prefix = "module."
    wrapped = bool(content) and all(key.startswith(prefix) for key in content)
    return {key.removeprefix(prefix) if wrapped else key: value for key, value in content.items()}


def load_network(build: Callable[[], nn.Module], record: EncoderRecord, path: Path) -> nn.Module:
    """Build the network and give it the weights of a file, float32, in evaluation mode.

    The network is built without memory first, so that a large one is never held twice.

    Raises
    ------
    EncoderError
        If the file cannot be read, or its tensors are not those of the network: the first differing keys are
        named.
    """
    import torch

    weights = read_weights(path)
    with torch.device("meta"):
        network = build()
    _check_fit(network, weights, record, path)
    kept = {key: value for key, value in weights.items() if not key.startswith(record.ignored_weights)}
    network.load_state_dict(kept, strict=False, assign=True)
    if any(tensor.is_meta for tensor in chain(network.parameters(), network.buffers())):
        # buffers that no checkpoint holds are computed while building
        network = build()
        network.load_state_dict(kept, strict=False, assign=True)
    return network.float().eval().requires_grad_(False)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_fit(network: nn.Module, weights: Mapping[str, Tensor], record: EncoderRecord, path: Path) -> None:
    expected = network.state_dict()
    missing = [
        key
        for key in expected
        # counters that inference does not use, which older checkpoints lack
        if key not in weights and not key.endswith("num_batches_tracked")
    ]
    foreign = [key for key in weights if key not in expected and not key.startswith(record.ignored_weights)]
    misshapen = [
        f"{key} {tuple(weights[key].shape)} for {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    problems = [
        f"{what}: {', '.join(keys[:_N_KEYS_SHOWN])}"
        + (f" and {len(keys) - _N_KEYS_SHOWN} more") * (len(keys) > _N_KEYS_SHOWN)
        for what, keys in (("lacks", missing), ("has unknown", foreign), ("has of another shape", misshapen))
        if keys
    ]
    if problems:
        raise EncoderError(
            str(path),
            f"does not fit {record.name} ({'; '.join(problems)})",
            expected=f"the weights of {record.library}'s {record.architecture}",
        )


def _local_checkpoint(setting: str, checkpoint: str) -> Path:
    path = Path(checkpoint).expanduser()
    if not path.exists():
        raise EncoderError(setting, f"{path} does not exist", remedy="correct the path of the checkpoint")
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise EncoderError(setting, f"{path} is no checkpoint", expected="a file " + ", ".join(SUFFIXES))
    return path


def _cached(hub: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file_name in _HUB_FILES:
        found = try_to_load_from_cache(hub, file_name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def _download(record: EncoderRecord, setting: str, revision: str | None) -> Path:
    from huggingface_hub import constants, hf_hub_download, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise _no_weights(record, setting, "HF_HUB_OFFLINE is set and the weights are not in the local cache")
    for file_name in _HUB_FILES:
        status = _status(hf_hub_url(record.hub, file_name, revision=revision), record, setting)
        if status in (401, 403):
            raise _no_weights(record, setting, f"access to {record.hub} is not granted to this machine")
        if status < 400:
            try:
                found = hf_hub_download(record.hub, file_name, revision=revision, etag_timeout=CONNECT_SECONDS)
                return Path(found)
            # whatever ends the download ends it for the user in the same way
            except Exception as error:
                raise _no_weights(record, setting, f"their download failed ({type(error).__name__})") from error
    place = record.hub if revision is None else f"revision {revision} of {record.hub}"
    raise _no_weights(record, setting, f"{place} has none of {', '.join(_HUB_FILES)}")


def _status(url: str, record: EncoderRecord, setting: str) -> int:
    """HTTP status of the file on the hub, by one request without retries.

    The request runs in a thread that is abandoned when time is up, because looking up a name has no timeout.
    """
    answer: list[int] = []
    fault: list[Exception] = []

    def ask() -> None:
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        try:
            response = get_session().head(
                url, headers=build_hf_headers(), timeout=CONNECT_SECONDS, follow_redirects=False
            )
            answer.append(response.status_code)
        # the session raises types of the HTTP library that the hub's client happens to use
        except Exception as error:
            fault.append(error)

    thread = threading.Thread(target=ask, name="stalign-hub", daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not answer:
        reason = type(fault[0]).__name__ if fault else f"no answer in {CONNECT_SECONDS:g} s"
        raise _no_weights(record, setting, f"the hub cannot be reached ({reason})")
    return answer[0]


def _no_weights(record: EncoderRecord, setting: str, reason: str) -> EncoderError:
    return EncoderError(
        setting,
        f"no weights for {record.name}: {reason}",
        expected=f"a local checkpoint ({', '.join(SUFFIXES)})",
        remedy=f"set {setting} to its path, or choose the encoder 'texture', which needs none",
    )

"""The registry, preprocessing, checkpoints, and what is said where weights cannot be had."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models, transforms
from torchvision.transforms import InterpolationMode

from stalign_core.errors import EncoderError, SettingsError
from stalign_core.morphology.encoders import RECORDS, load_encoder, record_of
from stalign_core.morphology.encoders import weights as weights_module
from stalign_core.morphology.encoders.network import NetworkEncoder, build_network, encode_in_halves
from stalign_core.morphology.encoders.preprocessing import resize_and_crop
from stalign_core.morphology.encoders.weights import load_network
from stalign_core.settings import EncoderSettings
from tests.core.morphology.sections import tissue

SMALL = "timm:test_vit"


@pytest.fixture(scope="module")
def small_network() -> nn.Module:
    network: nn.Module = timm.create_model("test_vit", pretrained=False, num_classes=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_every_record_is_named_after_itself_and_plain_enough_for_json() -> None:
    for name, record in RECORDS.items():
        assert record.name == name
        assert record.resize >= record.input_size > 0
        assert json.loads(json.dumps(record.to_dict())) == record.to_dict()


@pytest.mark.parametrize(("name", "n_parameters"), [("inception_v3", 21_785_568), ("uni2_h", 681_394_176)])
def test_the_networks_are_of_the_published_size_and_output(name: str, n_parameters: int) -> None:
    record = RECORDS[name]
    with torch.device("meta"):
        network = build_network(record).eval()
        output = network(torch.zeros(2, 3, record.input_size, record.input_size))
    assert output.shape == (2, record.n_features)
    assert sum(parameter.numel() for parameter in network.parameters()) == n_parameters


def test_an_unknown_encoder_and_an_unknown_timm_model_are_named() -> None:
    with pytest.raises(SettingsError, match=r"encoders\.mine\.model: 'resnet' is not an encoder"):
        record_of("resnet", "encoders.mine.model")
    with pytest.raises(SettingsError, match="no model 'no_such_model'"):
        record_of("timm:no_such_model")
    with pytest.raises(SettingsError, match=r"encoders\.mine\.model: timm .* has no model 'resnet_18'") as caught:
        record_of("timm:resnet_18", "encoders.mine.model")
    assert caught.value.remedy.startswith("did you mean 'resnet18'")


def test_a_timm_record_carries_the_models_own_data_settings() -> None:
    record = record_of("timm:mobilenetv3_small_050")
    network = timm.create_model("mobilenetv3_small_050", num_classes=0)
    data = timm.data.resolve_model_data_config(network)
    assert record.input_size == data["input_size"][1]
    assert (record.mean, record.deviation) == (data["mean"], data["std"])
    assert network.eval()(torch.zeros(1, 3, 224, 224)).shape[1] == record.n_features == 1024


def reference_input(record_name: str, patch: np.ndarray) -> torch.Tensor:
    record = record_of(record_name)
    tensor: torch.Tensor = transforms.Compose(
        [
            transforms.Resize(record.resize, InterpolationMode(record.interpolation)),
            transforms.CenterCrop(record.input_size),
            transforms.ToTensor(),
            transforms.Normalize(record.mean, record.deviation),
        ]
    )(Image.fromarray(patch))
    return tensor


@pytest.mark.parametrize("side", [90, 137, 342, 500])
def test_preprocessing_equals_torchvisions_published_one_for_inception(side: int) -> None:
    patch = tissue(side, side, 30)
    published = models.Inception_V3_Weights.IMAGENET1K_V1.transforms()
    assert (published.resize_size, published.crop_size) == ([342], [299])
    # on a picture; on a tensor torchvision's own resize differs by a grey level
    theirs = published(Image.fromarray(patch))
    torch.testing.assert_close(reference_input("inception_v3", patch), theirs)
    record = RECORDS["inception_v3"]
    pixels = torch.from_numpy(resize_and_crop(patch, record).copy())[None]
    encoder = bare_encoder(record.name)
    torch.testing.assert_close(encoder.normalised(pixels)[0], theirs)


@pytest.mark.parametrize("model", [SMALL, "timm:mobilenetv3_small_050", "timm:resnet18"])
def test_preprocessing_equals_timms_own(model: str) -> None:
    patch = tissue(150, 150, 30)
    record = record_of(model)
    network = timm.create_model(record.architecture, num_classes=0)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(network))(Image.fromarray(patch))
    pixels = torch.from_numpy(resize_and_crop(patch, record).copy())[None]
    torch.testing.assert_close(bare_encoder(model).normalised(pixels)[0], theirs)


def bare_encoder(model: str) -> NetworkEncoder:
    """An encoder with its record's normalisation and no network."""
    record = record_of(model)
    encoder = NetworkEncoder.__new__(NetworkEncoder)
    encoder.record = record
    encoder._mean = torch.tensor(record.mean).view(1, 3, 1, 1)
    encoder._deviation = torch.tensor(record.deviation).view(1, 3, 1, 1)
    return encoder


@pytest.mark.parametrize("kind", ["safetensors", "pth", "wrapped pth", "parallel bin", "old pth", "with head"])
def test_a_local_checkpoint_gives_the_bare_models_features(tmp_path: Path, small_network: nn.Module, kind: str) -> None:
    state = {key: tensor.clone() for key, tensor in small_network.state_dict().items()}
    path = tmp_path / f"weights.{'pth' if kind == 'with head' else kind.rsplit(maxsplit=1)[-1]}"
    match kind:
        case "safetensors":
            save_file(state, path)
        case "wrapped pth":
            torch.save({"state_dict": state, "epoch": 3}, path)
        case "parallel bin":
            torch.save({f"module.{key}": tensor for key, tensor in state.items()}, path)
        case "old pth":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "with head":
            torch.save({**state, "head.weight": torch.zeros(7, 64), "head.bias": torch.zeros(7)}, path)
        case _:
            torch.save(state, path)
    encoder = load_encoder("mine", EncoderSettings(model=SMALL, weights=str(path)), "cpu")
    patches = [tissue(70, 70, n) for n in range(5)]
    features = encoder.encode(np.stack([encoder.prepare(patch) for patch in patches]))
    with torch.inference_mode():
        expected = small_network(torch.stack([reference_input(SMALL, patch) for patch in patches])).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    assert features.dtype == np.float32
    assert np.ptp(features) > 0.1
    assert encoder.facts["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (encoder.facts["device"], encoder.facts["precision"]) == ("cpu", "float32")


def test_a_network_with_buffers_that_no_checkpoint_holds_is_complete(tmp_path: Path) -> None:
    architecture = "vit_small_patch16_dinov3"
    network = timm.create_model(architecture, num_classes=0, depth=1).eval()
    assert set(dict(network.named_buffers())) - set(network.state_dict())
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    record = record_of(f"timm:{architecture}")
    loaded = load_network(
        lambda: timm.create_model(architecture, num_classes=0, depth=1), record, tmp_path / "weights.safetensors"
    )
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(picture), network(picture))


def test_torchvisions_inception_on_imagenet_statistics_equals_timms_on_its_own(tmp_path: Path) -> None:
    """Two builds of one network, each with its own input convention, agree: transform_input is what joins them."""
    theirs: Any = timm.create_model("inception_v3", num_classes=0, aux_logits=False).eval()
    path = tmp_path / "inception.safetensors"
    state = {**theirs.state_dict(), "fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(1000)}
    save_file(state, path)
    encoder = load_encoder("mine", EncoderSettings(model="inception_v3", weights=str(path)), "cpu")
    patch = tissue(342, 342, 60)
    pixels = encoder.prepare(patch)
    features = encoder.encode(pixels[None])
    with torch.inference_mode():
        scaled = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        expected = theirs((scaled - 0.5) / 0.5).numpy()
    assert features.shape == (1, 2048)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_checkpoint_of_another_model_is_named_with_the_first_differing_keys(
    tmp_path: Path, small_network: nn.Module
) -> None:
    state = small_network.state_dict()
    state["patch_embed.proj.weight"] = torch.zeros(64, 3, 8, 8)
    state["foreign.weight"] = torch.zeros(1)
    del state["blocks.0.norm1.weight"]
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(EncoderError) as caught:
        load_encoder("mine", EncoderSettings(model=SMALL, weights=str(path)), "cpu")
    line = caught.value.line
    assert line.startswith(str(path))
    for key in ("blocks.0.norm1.weight", "foreign.weight", "patch_embed.proj.weight (64, 3, 8, 8)"):
        assert key in line
    assert "\n" not in line


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/").exists, ())


def test_checkpoints_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    torch.save({"weights": _Payload()}, tmp_path / "pickled.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    (tmp_path / "broken.bin").write_bytes(b"broken")
    (tmp_path / "notes.txt").touch()
    for name, problem in {
        "pickled.pth": "cannot be read as weights",
        "list.pth": "holds no state dict",
        "broken.safetensors": "cannot be read as weights",
        "broken.bin": "cannot be read as weights",
        "notes.txt": "is no checkpoint",
        "missing.pth": "does not exist",
    }.items():
        with pytest.raises(EncoderError, match=problem) as caught:
            load_encoder("mine", EncoderSettings(model=SMALL, weights=str(tmp_path / name)), "cpu")
        assert name in caught.value.line
        assert "\n" not in caught.value.line


@pytest.mark.parametrize("model", ["uni2_h", "inception_v3", "timm:resnet18"])
def test_without_weights_and_offline_one_line_names_the_setting(
    no_cache: None, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"^encoders\.mine\.weights: no weights for") as caught:
        load_encoder("mine", EncoderSettings(model=model))
    assert "local checkpoint" in caught.value.line
    assert "\n" not in caught.value.line


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_never_answers_is_given_up_within_the_time_limit(
    no_cache: None, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights_module, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repo, name, revision: f"{silent_server}/{repo}/{name}")
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"encoders\.mine\.weights.*cannot be reached \(no answer"):
        load_encoder("mine", EncoderSettings(model="timm:resnet18"))
    assert time.monotonic() - started < 15


def test_a_hub_that_refuses_connections_is_given_up_at_once(no_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repo, name, revision: f"{closed}/{repo}/{name}")
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"cannot be reached \(ConnectError"):
        load_encoder("mine", EncoderSettings(model="uni2_h"))
    assert time.monotonic() - started < 15


NEWEST, EARLIER = "a" * 40, "b" * 40


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_network: nn.Module) -> None:
    """A cache of the hub that holds two commits of the small network's weights, without a network to reach the hub."""
    folder = tmp_path / "hub" / f"models--{record_of(SMALL).hub.replace('/', '--')}"
    for commit, factor in ((NEWEST, 1.0), (EARLIER, 0.5)):
        (folder / "snapshots" / commit).mkdir(parents=True)
        weights = {key: tensor * factor for key, tensor in small_network.state_dict().items()}
        save_file(weights, folder / "snapshots" / commit / "model.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(NEWEST)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_weights_in_the_hubs_cache_are_used_without_the_network(hub_cache: None) -> None:
    encoder = load_encoder("mine", EncoderSettings(model=SMALL), "cpu")
    assert encoder.encode(np.stack([encoder.prepare(tissue(50, 50, 3))])).shape == (1, 64)
    assert encoder.facts["weights_revision"] == NEWEST


def test_a_revision_decides_which_weights_of_the_hub_are_taken(hub_cache: None) -> None:
    newest, named, earlier = (
        load_encoder("mine", EncoderSettings(model=SMALL, revision=revision), "cpu")
        for revision in (None, NEWEST, EARLIER)
    )
    assert newest.facts == named.facts
    assert earlier.facts["weights_revision"] == EARLIER
    assert earlier.facts["weights_sha256"] != newest.facts["weights_sha256"]
    with pytest.raises(EncoderError, match=r"encoders\.mine\.weights: no weights for .*not in the local cache"):
        load_encoder("mine", EncoderSettings(model=SMALL, revision="c" * 40), "cpu")


def test_the_hub_is_asked_for_the_revision(no_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def refused(repo: str, name: str, revision: str | None) -> str:
        asked.append(revision)
        return "http://127.0.0.1:9/"

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", refused)
    with pytest.raises(EncoderError, match="cannot be reached"):
        load_encoder("mine", EncoderSettings(model=SMALL, revision=EARLIER), "cpu")
    assert asked == [EARLIER]


def test_the_texture_encoder_refuses_weights() -> None:
    with pytest.raises(EncoderError, match="texture has no weights"):
        load_encoder("texture", EncoderSettings(weights="weights.pth"))
    with pytest.raises(EncoderError, match=r"encoders\.texture\.revision: is set, but texture has no weights"):
        load_encoder("texture", EncoderSettings(revision=NEWEST))


def test_cuda_is_refused_where_there_is_none(
    tmp_path: Path, small_network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    save_file(small_network.state_dict(), tmp_path / "weights.safetensors")
    encoder = EncoderSettings(model=SMALL, weights=str(tmp_path / "weights.safetensors"))
    with pytest.raises(SettingsError, match=r"morphology\.device"):
        load_encoder("mine", encoder, "cuda")
    assert load_encoder("mine", encoder, "auto").facts["device"] == "cpu"


def forward_that_fits(limit: int, sizes: list[int]) -> Any:
    def forward(patches: np.ndarray) -> np.ndarray:
        if len(patches) > limit:
            raise torch.cuda.OutOfMemoryError("out of memory")
        sizes.append(len(patches))
        return patches[:, 0, 0, :1].astype(np.float32)

    return forward


def test_batches_are_halved_until_they_fit_and_keep_their_order() -> None:
    patches = np.arange(10, dtype=np.uint8)[:, None, None, None]
    sizes: list[int] = []
    features, fitted = encode_in_halves(forward_that_fits(3, sizes), patches, 10)
    assert (fitted, sizes) == (2, [2] * 5)
    np.testing.assert_array_equal(features[:, 0], np.arange(10))


def test_memory_that_holds_no_patch_is_one_line() -> None:
    patches = np.zeros((4, 1, 1, 1), dtype=np.uint8)
    with pytest.raises(EncoderError, match="GPU memory"):
        encode_in_halves(forward_that_fits(0, []), patches, 4)


def test_the_size_that_fitted_is_kept_and_said(tmp_path: Path, small_network: nn.Module) -> None:
    save_file(small_network.state_dict(), tmp_path / "weights.safetensors")
    settings = EncoderSettings(model=SMALL, weights=str(tmp_path / "weights.safetensors"))
    encoder = load_encoder("mine", settings, "cpu")
    assert isinstance(encoder, NetworkEncoder)
    assert encoder.facts["batch_size_reduced_to"] is None
    sizes: list[int] = []
    whole = encoder._forward

    def limited(patches: np.ndarray) -> np.ndarray:
        if len(patches) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        sizes.append(len(patches))
        return whole(patches)

    encoder._forward = limited  # type: ignore[method-assign]
    patches = np.stack([encoder.prepare(tissue(50, 50, n)) for n in range(8)])
    encoder.encode(patches)
    encoder.encode(patches[:3])
    assert sizes == [2, 2, 2, 2, 2, 1]
    assert encoder.facts["batch_size_reduced_to"] == 2


def test_a_network_that_runs_out_of_memory_is_fed_half_and_its_features_are_the_same(
    tmp_path: Path, small_network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(small_network.state_dict(), tmp_path / "weights.safetensors")
    settings = EncoderSettings(model=SMALL, weights=str(tmp_path / "weights.safetensors"))
    encoder = load_encoder("mine", settings, "cpu")
    assert isinstance(encoder, NetworkEncoder)
    patches = np.stack([encoder.prepare(tissue(50, 50, n)) for n in range(7)])
    whole = encoder.encode(patches)
    sizes: list[int] = []

    def hold_at_most_two(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    encoder._network.register_forward_pre_hook(hold_at_most_two)
    np.testing.assert_allclose(encoder.encode(patches), whole, rtol=1e-5, atol=1e-6)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert encoder.facts["batch_size_reduced_to"] == 1

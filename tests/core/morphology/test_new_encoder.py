"""The guide's promise: an encoder is one record of the registry, or one file and one record."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import stalign_core
from tests.core.morphology.sections import saved, tissue

_GUIDE = Path(stalign_core.__file__).parents[1] / "docs/guide/extending.md"
_USE = """
    import sys

    import numpy as np

    from stalign_assets.recipes.graph import recipes_of
    from stalign_core.morphology import embed_section
    from stalign_core.settings import MorphologySettings, parse_settings
    from tests.core.morphology.sections import section

    image, features, model, *weights = sys.argv[1:]
    encoder = {"model": model, **({"weights": weights[0]} if weights else {})}
    variant = {"correction": "harmony", "encoder": "mine"}
    settings = parse_settings({"encoders": {"mine": encoder}, "variants": {"with_mine": variant}})
    spots = section(np.array([[30.0, 30.0], [70.0, 40.0], [60.0, 80.0]]), image)
    found = embed_section(spots, "mine", settings.encoders["mine"], MorphologySettings(device="cpu"))
    np.save(features, found.features)
    print(*recipes_of(settings), sep="\\n")
"""
_CENTRES = [(30, 30), (70, 40), (60, 80)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with the guide's file and its two records."""
    home = tmp_path_factory.mktemp("source")
    here = Path(stalign_core.__file__).parent
    for package in ("stalign_core", "stalign_assets"):
        shutil.copytree(here.parent / package, home / package)
    shutil.copytree(here.parent / "tests/core/morphology", home / "tests/core/morphology")
    for folder in ("tests", "tests/core"):
        (home / folder / "__init__.py").touch()
    blocks = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    (file,) = (block for block in blocks if block.startswith('"""Mean colour'))
    records = [block.rstrip() for block in blocks if block.startswith("EncoderRecord(")]
    assert len(records) == 2
    encoders = home / "stalign_core/morphology/encoders"
    (encoders / "colour.py").write_text(file)
    text = (encoders / "records.py").read_text()
    text = text.replace("encoders import texture\n", "encoders import colour, texture\n")
    assert text.count("    for record in (\n") == 1
    text = text.replace("    for record in (\n", "    for record in (\n" + ",\n".join(records) + ",\n")
    (encoders / "records.py").write_text(text)
    return home


def _features(home: Path, folder: Path, picture: NDArray[np.uint8], *model: str) -> NDArray[np.float32]:
    """What the copy makes of a picture's three spots, having the encoder's assets."""
    image = saved(picture, folder / "slide.png")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_USE), str(image), str(folder / "features.npy"), *model],
        env={**os.environ, "PYTHONPATH": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assets = done.stdout.splitlines()
    assert {"morphology_embeddings/mine", "cohort/morphology_pca/mine", "cohort/with_mine/domains"} <= set(assets)
    features: NDArray[np.float32] = np.load(folder / "features.npy")
    return features


def test_one_file_and_one_record_are_an_encoder(home: Path, tmp_path: Path) -> None:
    picture = tissue(120, 120, 30)
    features = _features(home, tmp_path, picture, "colour")
    patches = [picture[y - 10 : y + 10, x - 10 : x + 10] for x, y in _CENTRES]
    expected = [patch.reshape(-1, 3).mean(axis=0) / 255 for patch in patches]
    np.testing.assert_allclose(features, expected, atol=0.51 / 255)


def test_one_record_is_an_encoder(home: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False, num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    # A picture of one colour: what resizing does to a patch does not matter.
    picture = np.full((120, 120, 3), (200, 120, 160), dtype=np.uint8)
    features = _features(home, tmp_path, picture, "small_vit", str(tmp_path / "small.safetensors"))
    assert features.shape == (3, 64)
    colour = (np.array([200, 120, 160]) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    inputs = torch.tensor(colour, dtype=torch.float32).reshape(1, 3, 1, 1).expand(3, 3, 160, 160)
    with torch.no_grad():
        expected = network(inputs).numpy()
    assert np.ptp(expected[0]) > 0.1
    np.testing.assert_allclose(features, expected, atol=1e-4)

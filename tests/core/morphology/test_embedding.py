"""Embeddings of sections: with an image, without one, and with spots beyond it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
import tifffile
import timm
from safetensors.torch import save_file

from stalign_core.errors import EncoderError, ImageError
from stalign_core.morphology import embed_section, embed_with, load_encoder
from stalign_core.morphology.encoders.texture import FEATURE_NAMES, prepare, texture_features
from stalign_core.settings import EncoderSettings, MorphologySettings
from tests.core.morphology.sections import saved, section, tissue

SETTINGS = MorphologySettings(batch_size=7, device="cpu")


def test_each_spot_gets_the_features_of_its_own_patch(tmp_path: Path) -> None:
    picture = tissue(300, 400, 200)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture, photometric="rgb", tile=(64, 64), compression="deflate")
    positions = np.random.default_rng(0).integers(20, [380, 280], (40, 2))
    embedding = embed_section(section(positions, path), "texture", EncoderSettings(), SETTINGS)
    patches = [picture[y - 10 : y + 10, x - 10 : x + 10] for x, y in positions]
    np.testing.assert_array_equal(embedding.features, texture_features(np.stack([prepare(patch) for patch in patches])))
    assert embedding.observed.all()


def test_positions_and_diameters_follow_the_images_scale(tmp_path: Path) -> None:
    picture = tissue(300, 400, 200)
    path = saved(picture, tmp_path / "slide.png")
    embedding = embed_section(
        section(np.array([[400.0, 300.0]]), path, image_scale=0.5),
        "texture",
        EncoderSettings(),
        MorphologySettings(patch_diameters=2.0),
    )
    expected = texture_features(prepare(picture[140:160, 190:210])[None])
    np.testing.assert_array_equal(embedding.features, expected)
    assert embedding.facts["patch_pixels"] == 20


def test_spots_beyond_the_image_have_zeros_and_are_counted(tmp_path: Path) -> None:
    path = saved(tissue(100, 100, 20), tmp_path / "slide.png")
    positions = np.array([[50.0, 50.0], [-1.0, 50.0], [50.0, 101.0]])
    embedding = embed_section(section(positions, path), "texture", EncoderSettings(), SETTINGS)
    assert embedding.observed.tolist() == [True, False, False]
    assert (embedding.features[1:] == 0).all()
    assert (embedding.features[0] != 0).any()
    assert (embedding.facts["n_observed"], embedding.facts["n_unobserved"]) == (1, 2)


def test_a_section_without_an_image_has_zeros_and_needs_no_weights() -> None:
    positions = np.zeros((4, 2))
    for model, n_features in {"texture": 134, "uni2_h": 1536, "timm:test_vit": 64}.items():
        embedding = embed_section(section(positions, None), "mine", EncoderSettings(model=model), SETTINGS)
        assert embedding.features.shape == (4, n_features)
        assert not embedding.features.any()
        assert not embedding.observed.any()
        assert embedding.facts["n_unobserved"] == 4


def test_facts_are_plain_and_say_how_features_came_about(tmp_path: Path) -> None:
    path = saved(tissue(100, 100, 20), tmp_path / "slide.png")
    embedding = embed_section(section(np.array([[50.0, 50.0]]), path), "texture", EncoderSettings(), SETTINGS)
    facts = json.loads(json.dumps(embedding.facts))
    assert facts["encoder"]["name"] == "texture"
    assert (facts["device"], facts["precision"], facts["patch_pixels"]) == ("cpu", "float32", 20)
    assert facts["image_size"] == [100, 100]
    assert facts["patches_per_second"] > 0


def test_progress_counts_every_observed_patch(tmp_path: Path) -> None:
    path = saved(tissue(100, 100, 20), tmp_path / "slide.png")
    positions = np.random.default_rng(0).uniform(0, 100, (20, 2))
    told: list[tuple[str, int, int]] = []
    embed_section(section(positions, path), "texture", EncoderSettings(), SETTINGS, lambda *state: told.append(state))
    assert [done for _, done, _ in told] == [0, 7, 14, 20]
    assert {total for _, _, total in told} == {20}
    assert "S1" in told[0][0]


def test_a_network_gives_the_same_features_on_every_run_and_in_any_batch(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    path = saved(tissue(200, 200, 60), tmp_path / "slide.png")
    spots = section(np.random.default_rng(0).uniform(0, 200, (15, 2)), path)
    encoder = load_encoder(
        "mine", EncoderSettings(model="timm:test_vit", weights=str(tmp_path / "weights.safetensors")), "cpu"
    )
    first = embed_with(encoder, spots, SETTINGS).features
    np.testing.assert_array_equal(embed_with(encoder, spots, SETTINGS).features, first)
    other = embed_with(encoder, spots, MorphologySettings(batch_size=15)).features
    np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-5)


def test_a_broken_image_and_missing_weights_end_in_their_own_errors(tmp_path: Path) -> None:
    path = saved(tissue(100, 100, 20), tmp_path / "slide.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:2000])
    positions = np.array([[50.0, 50.0]])
    with pytest.raises(ImageError, match=r"broken\.png"):
        embed_section(section(positions, broken), "texture", EncoderSettings(), SETTINGS)
    with pytest.raises(EncoderError, match=r"encoders\.mine\.weights"):
        embed_section(
            section(positions, path),
            "mine",
            EncoderSettings(model="uni2_h", weights=str(tmp_path / "none.pth")),
            SETTINGS,
        )


def test_patches_of_which_an_encoder_makes_no_finite_numbers_are_told_of_their_image(tmp_path: Path) -> None:
    path = saved(tissue(100, 100, 20), tmp_path / "slide.png")
    encoder = load_encoder("texture", EncoderSettings(), "cpu")
    whole = encoder.encode

    def broken(patches: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(patches))[:, None] == 1, np.nan, whole(patches))

    encoder.encode = broken  # type: ignore[method-assign]
    with pytest.raises(ImageError) as caught:
        embed_with(encoder, section(np.full((5, 2), 50.0), path), SETTINGS)
    assert caught.value.line == (
        f"{path}: encoder texture gives values that are not finite for 1 of its patches; "
        "look at the image there, or choose another encoder"
    )


@pytest.mark.real_data
def test_real_nuclei_rich_patches_have_more_haematoxylin_than_fat(real_data: Callable[[str], Path]) -> None:
    folder = real_data("her2st_abcd")
    adata = anndata.read_h5ad(folder / "A1.h5ad")
    diameter = adata.uns["spatial"]["A1"]["scalefactors"]["spot_diameter_fullres"]
    spots = section(adata.obsm["spatial"], folder / "A1_he.png")
    spots.uns["stalign"] = {**spots.uns["stalign"], "spot_diameter": diameter}
    embedding = embed_section(spots, "texture", EncoderSettings(), SETTINGS)
    assert embedding.observed.sum() == 346
    assert np.isfinite(embedding.features).all()
    # the fatty corner at the lower left of the section, against the carcinoma in its middle
    x, y = adata.obsm["spatial"].T
    fat = (x < 330) & (y > 1600)
    carcinoma = (np.abs(x - 900) < 200) & (np.abs(y - 1100) < 200)
    background = embedding.features[:, FEATURE_NAMES.index("background_area")]
    haematoxylin = embedding.features[:, FEATURE_NAMES.index("haematoxylin_mean")]
    assert fat.sum() >= 3
    assert background[fat].mean() > 2 * background[carcinoma].mean()
    assert haematoxylin[fat].mean() < haematoxylin[carcinoma].mean()

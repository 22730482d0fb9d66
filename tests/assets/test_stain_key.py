"""Stain normalisation is part of the key of morphology, and of nothing's key where it is off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.recipe import KeyContext
from stalign_core.settings import parse_settings


def _key(morphology: dict[str, Any]) -> dict[str, Any]:
    settings = parse_settings({"morphology": morphology})
    # the default encoder has no weights to look up: of the study its settings alone are asked
    study: Any = SimpleNamespace(settings=settings)
    return dict(recipes_of(settings)["morphology_embeddings/texture"].settings(KeyContext(study, "A", ("A",), {})))


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_a_method_enters_the_key_and_none_does_not(method: str) -> None:
    plain = _key({})
    assert set(plain) == {"encoder", "weights", "patch_diameters"}
    assert _key({"stain_normalisation": "none"}) == plain
    assert _key({"stain_normalisation": method}) == {**plain, "stain_normalisation": method}

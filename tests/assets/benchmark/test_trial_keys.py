"""A trial's key holds what the trial reads: a study that gains an encoder or embedding computes the new arms only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from stalign_assets.recipes.benchmark.trials import Bench, Place, inputs_of_trials
from stalign_core.benchmark.arms import Arm, Trial
from stalign_core.settings import parse_settings

DONORS = ("A", "B")
PLAIN = {"variants": {"harmony": {"correction": "harmony"}}}
RICHER = {
    "encoders": {"texture": {"model": "texture"}, "inception": {"model": "inception_v3"}},
    "representations": {"outside": {"obsm": "X_outside", "file": "{sample}.h5ad"}},
    "variants": {
        **PLAIN["variants"],
        "second": {"correction": "harmony", "encoder": "inception"},
        "third": {"correction": "harmony", "representation": "outside"},
    },
}
TEXTURE = Arm("harmony", "aestetik", "pca", "texture")
INCEPTION = Arm("harmony", "aestetik", "pca", "inception")
OUTSIDE = Arm("harmony", "aestetik", "outside", "texture")
ALONE = Arm("harmony", "alone")


class Stored:
    """An artifact of which the hash of its files is known, and what its donor's annotation says."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.manifest = SimpleNamespace(summary={"samples": {"s": {"labels": ["x", "y"]}}, "n_spots": 10})

    def used_hash(self, files: Sequence[str]) -> str:
        """Of all files alike."""
        return self.content


def places(given: Mapping[str, Any], arm: Arm, changed: str = "") -> tuple[Place, Place]:
    """Of an arm's correction and trial, in a study with these settings, of which one asset has another content."""
    settings = parse_settings(dict(given))
    study: Any = SimpleNamespace(settings=settings)
    inputs: Any = {
        each.asset: {donor: Stored("new" if each.asset == changed else "old") for donor in DONORS}
        for each in inputs_of_trials(settings)
    }
    bench, trial = Bench(study, inputs), Trial(arm, {}, seed=0, correction_seed=0)
    return bench.correction_place(DONORS, trial), bench.trial_place(DONORS, trial)


def test_another_encoder_and_embedding_leave_the_arms_that_there_were() -> None:
    for arm in (TEXTURE, ALONE):
        assert places(PLAIN, arm) == places(RICHER, arm)


def test_what_an_arm_reads_changes_its_trials() -> None:
    for arm, asset in (
        (TEXTURE, "morphology_embeddings/texture"),
        (INCEPTION, "morphology_embeddings/inception"),
        (OUTSIDE, "external_embeddings/outside"),
        (ALONE, "raw_samples"),
    ):
        (_, before), (_, after) = places(RICHER, arm), places(RICHER, arm, asset)
        assert before != after, (arm, asset)


def test_what_an_arm_does_not_read_changes_nothing_of_it() -> None:
    for arm, asset in (
        (TEXTURE, "morphology_embeddings/inception"),
        (TEXTURE, "external_embeddings/outside"),
        (ALONE, "morphology_embeddings/texture"),
    ):
        assert places(RICHER, arm) == places(RICHER, arm, asset), (arm, asset)


def test_images_leave_the_correction_of_expression_alone() -> None:
    (before, _), (after, _) = (places(RICHER, TEXTURE, asset) for asset in ("", "morphology_embeddings/texture"))
    assert before == after

"""Noting in the store that something cannot be made of a donor's own files, and forgetting it once it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from stalign_assets.recipes.recipe import Recipe
from stalign_assets.study import Study
from stalign_assets.wanted import wanted
from stalign_core.errors import (
    ArtifactError,
    EncoderError,
    InputChangedError,
    SettingsError,
    StalignError,
    StoreError,
    StudyError,
)
from stalign_core.store.refusals import Refusal, lift_refusal, refuse

_NOT_OF_THE_DONOR: Final = (SettingsError, EncoderError, ArtifactError, StoreError, StudyError, InputChangedError)
"""Errors of the settings, the store, the order of work or a moment: they tell nothing of a donor's files."""


@contextmanager
def noting_refusal(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str) -> Iterator[None]:
    """Keep why one of a donor's own assets cannot be made; forget it when it is made.

    An error that is none of the user's counts as well: whatever is wrong with one donor is to hold up no other. A
    signal, a killed process and a full disk leave no note.
    """
    if not recipe.is_of_samples:
        yield
        return
    try:
        yield
    except _NOT_OF_THE_DONOR:
        raise
    except Exception as error:
        line = error.line if isinstance(error, StalignError) else _line_of(error, recipe, partition)
        note_refusal(study, recipes, recipe, partition, line)
        raise
    lift_refusal(study.store, recipe.asset, partition)


def note_refusal(study: Study, recipes: Mapping[str, Recipe], recipe: Recipe, partition: str, line: str) -> None:
    """Keep why an asset cannot be made of what it would be made from now, if the store can be written."""
    try:
        key = wanted(study, recipes, recipe, partition).input_key
    except StalignError:
        key = ""
    # Where the note cannot be kept, the run tells what is wrong all the same.
    with suppress(OSError, StoreError):
        refuse(study.store, recipe.asset, partition, Refusal(key, line))


def _line_of(error: Exception, recipe: Recipe, partition: str) -> str:
    words = " ".join(str(error).split())
    return f"{recipe.asset} of {partition}: failed unexpectedly ({type(error).__name__}: {words})"

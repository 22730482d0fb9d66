"""Errors a user can act on.

Every message is one line: where the fault lies, what is wrong, what was expected, what to do.
"""

from __future__ import annotations


class StalignError(Exception):
    """Base of every error that a user's input, settings or files can cause.

    Parameters
    ----------
    where
        File, row, field, asset or setting that holds the fault.
    problem
        What was found there.
    expected
        What should have been found.
    remedy
        What the user can do about it.
    """

    def __init__(self, where: str, problem: str, *, expected: str = "", remedy: str = "") -> None:
        self.where = where
        self.problem = problem
        self.expected = expected
        self.remedy = remedy
        super().__init__(self.line)

    @property
    def line(self) -> str:
        """The message as one line."""
        parts = [f"{self.where}: {self.problem}"]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(self.remedy)
        return " ".join("; ".join(parts).split())

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.where, self.problem, self.expected, self.remedy))


def _rebuild(cls: type[StalignError], where: str, problem: str, expected: str, remedy: str) -> StalignError:
    return cls(where, problem, expected=expected, remedy=remedy)


class SampleSheetError(StalignError):
    """The sample sheet is missing, malformed or inconsistent."""


class SettingsError(StalignError):
    """A setting is unknown, of the wrong type or impossible."""


class InputDataError(StalignError):
    """A sample's counts, positions or annotation cannot be used."""


class InputChangedError(InputDataError):
    """A raw file changed between its hash and its reading: it tells nothing of what the file will be."""


class ImageError(StalignError):
    """A histology image cannot be read or does not fit its sample."""


class EncoderError(StalignError):
    """A morphology encoder or its weights cannot be had."""


class CorrectionError(StalignError):
    """A correction method cannot run on these features."""


class ModelError(StalignError):
    """A model cannot be trained, saved or loaded."""


class DownstreamError(StalignError):
    """Domains cannot be compared, or a pathway network cannot be used."""


class ArtifactError(StalignError):
    """A stored artifact is missing, incomplete or altered."""


class NewerArtifactError(ArtifactError):
    """A stored artifact is whole, as far as can be told, but was made by a newer stalign."""


class MissingArtifactError(ArtifactError):
    """The artifact that is said to be in force was set aside or deleted."""


class StoreError(StalignError):
    """The store, on another machine, cannot be reached or used; nothing can be told of what it holds."""


class StudyError(StalignError):
    """A study folder is missing, of another version or not usable."""

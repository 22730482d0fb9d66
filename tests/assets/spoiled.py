"""A finished study whose raw files may be spoiled."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.assets.bad_inputs import Files


@dataclass(frozen=True)
class Place:
    """A finished study with raw files of its own."""

    study: Path
    data: Path
    untouched: Path

    @property
    def files(self) -> Files:
        """The raw files of the section that is spoiled."""
        return Files(self.data)

    def mend(self) -> None:
        """Put all raw files back as they were."""
        shutil.rmtree(self.data)
        shutil.copytree(self.untouched, self.data)

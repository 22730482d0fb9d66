"""Which artifacts were found to hold, remembered while no file of theirs changes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stalign_core.files import replace_file
from stalign_core.store.fingerprints import stamp_of

if TYPE_CHECKING:
    from stalign_core.store.artifact import Artifact


class HeldArtifacts:
    """Spares a plan from hashing every file of a store on this machine again, as a remote store's own notes do.

    What is read for its content is hashed in any case.

    Parameters
    ----------
    path
        JSON file of the memory; a missing or unreadable one only costs hashing anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamps = self._load()
        self._new: dict[str, list[int] | str] = {}

    def verify(self, artifact: Artifact) -> None:
        """Verify every file of an artifact, unless all are as they were when they last held.

        Raises
        ------
        ArtifactError
            At the first file that does not hold.
        """
        folder = artifact.folder.path
        # Before anything is hashed: what changes meanwhile is hashed again next time.
        stamp = stamp_of(Path(folder))
        if self._stamps.get(folder) == stamp:
            return
        artifact.verify()
        self._stamps[folder] = self._new[folder] = stamp

    def save(self) -> None:
        """Keep the memory for later processes, but of artifacts that are gone."""
        if not self._new:
            return
        known = {**self._load(), **self._new}
        self._stamps = {folder: stamp for folder, stamp in known.items() if Path(folder).is_dir()}
        # Where nothing can be written, the next process hashes again.
        with suppress(OSError):
            replace_file(self._path, json.dumps(self._stamps))
            self._new = {}

    def _load(self) -> dict[str, list[int] | str]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

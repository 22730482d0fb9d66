"""The study as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from stalign_assets.study import Study, open_study, study_folder, study_of_run


class StudyResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The study that a run works on.

    The folder comes from STALIGN_STUDY unless it is given. Settings and samples are those of the run's snapshot.
    """

    folder: str = ""

    def of_run(self, run_id: str) -> Study:
        """The study as the run with this id began with it."""
        return study_of_run(self._where, run_id)

    def as_it_is(self) -> Study:
        """The study with the settings and the sheet of this moment."""
        return open_study(self._where)

    @property
    def _where(self) -> Path:
        return Path(self.folder) if self.folder else study_folder()

"""Steps of other processes, told to a console from the events and the log of their run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.reporting import TOLD, WARNING, Console, StepEnd, progress_in

if TYPE_CHECKING:
    import dagster as dg

_LOOK_EVERY_SECONDS: Final = 1.0


class Follower:
    """Follows one run.

    Parameters
    ----------
    instance, run_id
        The run.
    assets
        What it materialises; its other steps, which are checks, are not told.
    console
        Where it is shown.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str, assets: Sequence[str], console: Console) -> None:
        import dagster as dg

        self._instance = instance
        self._run_id = run_id
        self._assets = {dg.AssetKey(asset.split("/")).to_python_identifier(): asset for asset in assets}
        self._console = console
        self._at_work: set[str] = set()
        self._cursor: str | None = None

    def tell(self, event: dg.DagsterEvent) -> None:
        """Show a step that begins or has its artifact."""
        step = event.step_key or ""
        if event.is_step_start and step in self._assets:
            self._at_work.add(step)
            self._console.step_started(self._assets[step], "")
        elif event.is_step_materialization:
            self._tell_materialisation(event.step_materialization_data.materialization)
        elif event.is_step_success or event.is_step_failure:
            self._at_work.discard(step)
        elif event.is_engine_event and TOLD in event.engine_event_data.metadata:
            self._console.step_said(event.message or "")

    @contextmanager
    def telling_progress(self, every_seconds: float = _LOOK_EVERY_SECONDS) -> Iterator[None]:
        """While the run is at work: show what its steps log of their progress."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(every_seconds):
                self.tell_progress()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def tell_progress(self) -> None:
        """Show the progress that was logged since the last call, of steps that are at work."""
        found = self._instance.get_records_for_run(self._run_id, self._cursor)
        self._cursor = found.cursor
        for record in found.records:
            entry = record.event_log_entry
            told = None if entry.is_dagster_event else progress_in(entry.user_message)
            if told is not None and entry.step_key in self._at_work:
                what, done, total = told
                self._console.step_progress(f"{self._assets[entry.step_key]}: {what}", done, total)

    def _tell_materialisation(self, materialization: dg.AssetMaterialization) -> None:
        metadata: dict[str, Any] = {name: value.value for name, value in materialization.metadata.items()}
        asset = "/".join(materialization.asset_key.path)
        if asset not in self._assets.values():  # a step that writes all donors' pages tells of each
            return
        reused = bool(metadata["reused"])
        if "provenance" not in metadata:  # it makes no artifact, so there is none to count
            self._console.step_said(f"{asset}: {'reused' if reused else 'rebuilt'}")
            return
        for line in () if reused else metadata.get("warnings", ()):
            self._console.step_said(f"{WARNING} {line}")
        self._console.step_done(
            StepEnd(
                asset=asset,
                partition=materialization.partition or "",
                reused=reused,
                seconds=metadata["seconds"],
                peak_memory_mb=metadata["peak_memory_mb"],
                parts_reused=metadata.get("parts_reused", 0),
            )
        )

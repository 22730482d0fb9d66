"""A run as a server's process carries it out, which is killed in a step: ``python -m tests.automation.killed_run``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import dagster as dg
from dagster._core.execution.api import execute_run_iterator

from stalign_assets.runs import open_instance, reconstructable_job
from stalign_assets.study import open_study


def main(folder: str, assets: str, tags: str, killed_in: str) -> None:
    """Carry out `assets`, separated by commas, with `tags`, as JSON, until the step `killed_in` begins."""
    study = open_study(Path(folder))
    job = reconstructable_job(study)
    selection = frozenset(dg.AssetKey(asset.split("/")) for asset in assets.split(","))
    with open_instance(study) as instance:
        subset = job.get_definition().get_subset(asset_selection=selection)
        run = instance.create_run_for_job(subset, tags=json.loads(tags), asset_selection=selection)
        for event in execute_run_iterator(job, run, instance):
            if event.is_step_start and event.step_key == killed_in:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])

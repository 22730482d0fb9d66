"""``stalign ui``: serve the Dagster UI of a study."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click


@click.command("ui")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", default=3000, show_default=True, help="Port to bind.")
def command(study: Path, host: str, port: int) -> None:
    """Serve the Dagster UI of STUDY, with the daemon that runs schedules and sensors, until interrupted."""
    from stalign_assets.runs import open_instance, prepare_instance
    from stalign_assets.study import STUDY_VARIABLE, open_study

    opened = open_study(study)
    with open_instance(opened) as instance:
        prepare_instance(instance, opened)
    os.environ[STUDY_VARIABLE] = str(opened.folder)
    os.environ["DAGSTER_HOME"] = str(opened.dagster_home)
    click.echo(f"Dagster UI of {study}: http://{host}:{port}")
    arguments = ["dagster", "dev", "-m", "stalign_assets.definitions", "-h", host, "-p", str(port)]
    os.chdir(opened.dagster_home)
    # A shell script's background jobs ignore SIGINT, and Dagster treats SIGTERM as it finds SIGINT: both must end it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-m", *arguments])

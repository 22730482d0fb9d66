"""``stalign ui``: serve the Dagster UI of a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from stalign_assets.cli.options import json_option, quiet_option


@click.command("ui")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", default=3000, show_default=True, help="Port to bind.")
@quiet_option
@json_option
def command(study: Path, host: str, port: int, quiet: bool, as_json: bool) -> None:
    """Serve the Dagster UI of STUDY until interrupted, and do what is to happen unattended meanwhile.

    New and changed donors are run, and the cohort is integrated again by night, as [automation] of study.toml says.
    """
    from stalign_assets.cli.console import StepConsole

    with StepConsole(quiet=quiet) as console:
        console.working("opening the study")
        from stalign_assets.runs import open_instance, prepare_instance
        from stalign_assets.study import STUDY_VARIABLE, open_study

        opened = open_study(study)
        with open_instance(opened) as instance:
            prepare_instance(instance, opened)
    os.environ[STUDY_VARIABLE] = str(opened.folder)
    os.environ["DAGSTER_HOME"] = str(opened.dagster_home)
    for kind in ("SENSOR", "SCHEDULE"):
        # A look at some hundred donors on a busy machine may take longer than the minute that Dagster gives it.
        os.environ.setdefault(f"DAGSTER_{kind}_GRPC_TIMEOUT_SECONDS", "600")
    # dagster's own word on its successor 'dg dev', which is of no use to who runs stalign.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:Function `dev_command` is superseded")
    _tell_address(study, f"http://{host}:{port}", quiet=quiet, as_json=as_json)
    arguments = ["dagster", "dev", "-m", "stalign_assets.definitions", "-h", host, "-p", str(port)]
    arguments += ["--log-level", "warning"] if quiet else []
    arguments += ["--log-format", "json"] if as_json else []
    os.chdir(opened.dagster_home)
    # A shell script's background jobs ignore SIGINT, and Dagster treats SIGTERM as it finds SIGINT: both must end it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # This process becomes the server, and so the parent that the reloading process lives and ends with.
    local = f"http://{_reached_at(host)}:{port}"
    reloading = [sys.executable, "-m", "stalign_assets.reloading", str(opened.folder), local, str(os.getpid())]
    subprocess.Popen(reloading, stdin=subprocess.DEVNULL)
    os.execv(sys.executable, [sys.executable, "-m", *arguments])


def _tell_address(study: Path, address: str, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"study": str(study), "url": address}))
    elif not quiet:
        click.echo(f"Dagster UI of {study}: {address}, once 'Serving dagster-webserver' stands below; Ctrl-C ends it")


def _reached_at(host: str) -> str:
    """Where a server that binds to `host` answers this machine."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

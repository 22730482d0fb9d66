"""`stalign ui` as a process of its own, with everything it starts ended afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 300.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A running UI."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: Any) -> Any:
        """Send a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@contextmanager
def serving(study: Path) -> Iterator[Server]:
    """Serve a study with ``stalign ui`` until the block ends."""
    port = _free_port()
    log = study.parent / "ui.log"
    command = [sys.executable, "-m", "stalign_assets.cli.main", "ui", str(study), "--port", str(port)]
    # A shell starts background jobs so, with SIGINT ignored.
    command = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        server = Server(f"http://127.0.0.1:{port}", log, process)
        _wait_until_loaded(server, process)
        yield server
    finally:
        _end_group(process)


def processes_of_session(leader: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def listening(leader: int) -> list[tuple[str, int]]:
    """Addresses and ports at which the processes of a session can be reached through a network."""
    found = []
    for process in processes_of_session(leader):
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("inet")
            found += [(each.laddr.ip, each.laddr.port) for each in sockets if each.status == psutil.CONN_LISTEN]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_loaded(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, server.log.read_text(errors="replace")
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if server.ask("{ assetNodes { id } }")["assetNodes"]:
                return
        time.sleep(0.5)
    raise TimeoutError(server.log.read_text(errors="replace"))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group; SIGKILL to what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)

"""A stand-in for the API of a Kubernetes cluster: a job's container is a process of this machine, without its image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from stalign_assets.platform.executors.assembly import executor_of
from stalign_assets.platform.executors.tags import op_tags_of
from stalign_core.settings import ExecutionSettings, parse_settings

ROOT = Path(__file__).resolve().parents[2]
KUBECONFIG = "STALIGN_TEST_KUBECONFIG"


class JobsApi:
    """Jobs that were asked for, by name, and their processes."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.namespaces: set[str] = set()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def create(self, namespace: str, job: dict[str, Any]) -> None:
        """Start what a job's container would run."""
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.namespaces.add(namespace)
        self.jobs[name] = job
        self._processes[name] = subprocess.Popen(
            [*container.get("command", []), *container["args"]],
            env={**os.environ, **environment, "PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )

    def status(self, name: str) -> dict[str, int]:
        """How many pods of a job are at work, done or failed."""
        code = self._processes[name].poll()
        return {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}

    def close(self) -> None:
        """End what is at work."""
        for process in self._processes.values():
            process.kill()
            process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[JobsApi, Path]]:
    """The stand-in on a free port, and a kubeconfig that leads to it."""
    api = JobsApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.create(self.path.split("/namespaces/")[1].split("/")[0], job)
            self._answer(201, job)

        def do_GET(self) -> None:
            name = self.path.split("/jobs/")[1].split("/")[0]
            self._answer(200, {"metadata": {"name": name}, "status": api.status(name)})

        def log_message(self, format: str, *args: Any) -> None: ...

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = folder / "kubeconfig.yaml"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
    try:
        yield api, kubeconfig
    finally:
        server.shutdown()
        server.server_close()
        api.close()


def execution_with(kubeconfig: str) -> ExecutionSettings:
    """Settings of the engine that lead to the stand-in."""
    job = {
        "kubeconfig_file": kubeconfig,
        "volumes": [{"name": "studies", "persistentVolumeClaim": {"claimName": "studies"}}],
        "volume_mounts": [{"name": "studies", "mountPath": "/studies"}],
    }
    kubernetes = {"image": "registry/stalign:1", "namespace": "atlas", "job": job}
    return parse_settings({"execution": {"engine": "kubernetes", "kubernetes": kubernetes}}).execution


def two_steps_job() -> dg.JobDefinition:
    """A step of the pool ``gpu`` and one that rests on it, with the tags and the executor of a study."""
    execution = execution_with(os.environ[KUBECONFIG])

    @dg.asset(pool="gpu", op_tags=op_tags_of("gpu", execution))
    def with_gpu() -> None: ...

    @dg.asset(deps=["with_gpu"], op_tags=op_tags_of(None, execution))
    def without() -> None: ...

    job = dg.define_asset_job("small")
    definitions = dg.Definitions(assets=[with_gpu, without], jobs=[job], executor=executor_of(execution))
    return definitions.resolve_job_def("small")


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "here", "user": {}}],
    }

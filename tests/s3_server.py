"""An S3 server of its own process on the loopback address, which can be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any

BUCKET = "atlas"


class S3Server:
    """moto's server on a port of its own; `options` lead an fsspec filesystem to it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.options: dict[str, Any] = {
            "key": "test",
            "secret": "test",
            "endpoint_url": f"http://127.0.0.1:{self.port}",
        }
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        self.filesystem().mkdir(BUCKET)

    def filesystem(self) -> Any:
        """The server's filesystem, as another client sees it: nothing of what was listed before is remembered."""
        import s3fs

        return s3fs.S3FileSystem(**self.options, use_listings_cache=False, skip_instance_cache=True)

    def kill(self) -> None:
        """End the server at once; what it held is gone."""
        self.process.kill()
        self.process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the S3 server did not come up")

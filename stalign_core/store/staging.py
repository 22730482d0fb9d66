"""Staging folders: how they are named, and which of them a killed process left behind."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from pathlib import Path
from typing import Final

STAGING: Final = ".staging"
"""Folder of a store, or of its cache, that holds the staging folders."""


def staging_name() -> str:
    """A fresh name that says which process of which host writes there: ``<host>-<pid>-<uuid>``."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


def sweep(parent: Path) -> list[Path]:
    """Remove the staging folders in `parent` whose process ran on this host and is gone; returns what was removed.

    A folder of another host stays: whether its process lives cannot be told from here.
    """
    swept = [folder for folder in _folders(parent) if writer_is_gone(folder.name)]
    for folder in swept:
        shutil.rmtree(folder, ignore_errors=True)
    return swept


def leftovers(parent: Path, untouched_since: float) -> list[Path]:
    """What nobody will go on with, where nobody is at work: folders of dead processes, and any untouched since a time.

    Parameters
    ----------
    untouched_since
        Seconds since the epoch.
    """
    return [
        folder for folder in _folders(parent) if writer_is_gone(folder.name) or last_change(folder) <= untouched_since
    ]


def last_change(path: Path) -> float:
    """When a file, or a folder or anything in it, changed last, in seconds since the epoch."""
    return max(each.lstat().st_ctime for each in (path, *path.rglob("*")))


def _folders(parent: Path) -> list[Path]:
    return sorted(parent.iterdir()) if parent.is_dir() else []


def writer_is_gone(name: str) -> bool:
    import psutil

    # From the right: the name of a host may hold hyphens.
    fields = name.rsplit("-", 2)
    if len(fields) != 3 or fields[0] != socket.gethostname() or not fields[1].isdecimal():
        return False
    return not psutil.pid_exists(int(fields[1]))

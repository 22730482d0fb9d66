"""Settings of a store that is a URL."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from stalign_core.settings.section import Section


class RemoteStoreSettings(Section):
    """How a store on another machine is reached, and how much of it is kept on this one."""

    cache_gib: float = Field(50.0, gt=0, description="GiB of fetched files to keep in the study's cache")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="of the filesystem, as fsspec takes them (endpoint_url, profile ...); no passwords, which would "
        "stay in the history of runs",
    )

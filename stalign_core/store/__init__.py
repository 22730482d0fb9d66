"""Immutable, self-proving artifacts: the only place where results are kept.

An artifact is a folder ``<asset>/<partition>/<input key>/`` whose ``manifest.json`` is written last and is the commit.
A small ``current`` pointer per asset and partition names the artifact in force.
"""

from __future__ import annotations

from stalign_core.store.artifact import Artifact
from stalign_core.store.builder import ArtifactBuilder
from stalign_core.store.manifest import InputRecord, Manifest, SourceRecord
from stalign_core.store.store import Store

__all__ = ["Artifact", "ArtifactBuilder", "InputRecord", "Manifest", "SourceRecord", "Store"]

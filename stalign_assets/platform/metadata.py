"""What a materialisation shows in the UI: numbers it plots over time, provenance, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from stalign_assets.materialise import Materialisation
from stalign_assets.measure import Measure
from stalign_assets.wanted import LEFT_OUT
from stalign_core.store import Artifact, Manifest

THUMBNAIL_SUFFIX: Final = ".thumbnail.png"
_MEGABYTE: Final = 1e6


def metadata_of(materialisation: Materialisation) -> dict[str, dg.MetadataValue]:
    """Metadata of a materialisation, made from its artifact's manifest, so that reuse shows the same.

    The donors left out are those of now: one that came and failed its checks changes nothing of the artifact, and is
    named all the same. The UI keeps their order: what was found comes first, then pictures, cost, and last what proves
    it all.
    """
    artifact = materialisation.artifact
    manifest = artifact.manifest
    found = _summary_values(manifest.summary)
    numbers = {name: value for name, value in found.items() if not isinstance(value, dg.JsonMetadataValue)}
    shown = _pictures(artifact)
    files = {name: value for name, value in shown.items() if isinstance(value, dg.PathMetadataValue)}
    metadata: dict[str, dg.MetadataValue] = {"reused": dg.MetadataValue.bool(materialisation.reused), **numbers}
    metadata |= {name: value for name, value in shown.items() if name not in files}
    metadata |= cost_metadata(manifest)
    metadata["donors"] = dg.MetadataValue.text(", ".join(manifest.donors))
    if materialisation.donors_left_out:
        metadata[LEFT_OUT] = dg.MetadataValue.json(dict(materialisation.donors_left_out))
    metadata |= {name: value for name, value in found.items() if name not in numbers}
    metadata |= files
    metadata["folder"] = dg.MetadataValue.path(str(artifact.folder))
    metadata["input_key"] = dg.MetadataValue.text(manifest.input_key)
    metadata["provenance"] = dg.MetadataValue.json(_provenance(artifact))
    return metadata


def cost_metadata(cost: Measure | Manifest) -> dict[str, dg.MetadataValue]:
    """What a computation took."""
    return {
        "seconds": dg.MetadataValue.float(round(cost.seconds, 3)),
        "cpu_seconds": dg.MetadataValue.float(round(cost.cpu_seconds, 3)),
        "peak_memory_mb": dg.MetadataValue.float(round(cost.peak_memory_bytes / _MEGABYTE, 1)),
        "memory_at_start_mb": dg.MetadataValue.float(round(cost.memory_at_start_bytes / _MEGABYTE, 1)),
    }


def _provenance(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "data_version": manifest.data_version,
        "code_version": manifest.code_version,
        "settings": manifest.settings,
        "settings_hash": manifest.settings_hash,
        "seed": manifest.seed,
        "inputs": [f"{record.asset} {record.partition} {record.data_version}" for record in manifest.inputs],
        "sources": {record.path: record.sha256 for record in manifest.sources},
        "packages": manifest.packages,
        "computed_by_run": manifest.run_id,
        "created": manifest.created,
    }


def _summary_values(summary: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    values: dict[str, dg.MetadataValue] = {}
    for name, value in summary.items():
        if isinstance(value, bool):
            values[name] = dg.MetadataValue.bool(value)
        elif isinstance(value, int):
            values[name] = dg.MetadataValue.int(value)
        elif isinstance(value, float):
            values[name] = dg.MetadataValue.float(value)
        elif isinstance(value, str):
            values[name] = dg.MetadataValue.text(value)
        elif value:
            values[name] = dg.MetadataValue.json(value)
    return values


def _pictures(artifact: Artifact) -> dict[str, dg.MetadataValue]:
    """Small pictures in one entry, which the UI opens at one click, and the files of the full ones."""
    images: dict[str, bytes] = {}
    files: dict[str, dg.MetadataValue] = {}
    for name in artifact.names(f"*{THUMBNAIL_SUFFIX}"):
        title = name.removesuffix(THUMBNAIL_SUFFIX)
        images[title] = artifact.bytes(name)
        full = f"{title}.png"
        if full in artifact.manifest.files:
            files[f"{title}_file"] = dg.MetadataValue.path(str(artifact.location(full)))
    return {**pictures_entry(images), **files}


def pictures_entry(images: Mapping[str, bytes]) -> dict[str, dg.MetadataValue]:
    """Small PNG pictures by title, in one entry; no entry where there are none."""
    if not images:
        return {}
    shown = [f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})" for title, png in images.items()]
    return {"pictures": dg.MetadataValue.md("\n\n".join(shown))}

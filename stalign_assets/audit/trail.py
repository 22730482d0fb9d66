"""The audit of an artifact: for a program as one table, for a reader as lines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from stalign_assets.audit.ancestry import Ancestry, place_of
from stalign_core.store import Artifact, Manifest, SourceRecord
from stalign_core.store.hashing import canonical_json
from stalign_core.store.store import UNPARTITIONED


def trail_table(ancestry: Ancestry, left_out_now: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Everything that is known of an artifact and its ancestors, JSON-able; the artifact itself comes first.

    Parameters
    ----------
    left_out_now
        As the function of this name gives it.
    """
    manifest = ancestry.root.manifest
    return {
        "asset": manifest.asset,
        "partition": manifest.partition,
        "input_key": manifest.input_key,
        "data_version": manifest.data_version,
        "in_force": ancestry.in_force,
        "retained": [
            {"input_key": each.manifest.input_key, "created": each.manifest.created} for each in ancestry.retained
        ],
        "donors": list(manifest.donors),
        "donors_left_out": manifest.donors_left_out,
        "donors_left_out_now": None if left_out_now is None else dict(left_out_now),
        "runs": _runs(ancestry.artifacts),
        "raw_files": [vars(source) for source in _sources(ancestry.artifacts)],
        "artifacts": [_artifact_table(artifact) for artifact in ancestry.artifacts],
        "faults": list(ancestry.faults),
    }


def trail_lines(ancestry: Ancestry, left_out_now: Mapping[str, str] | None = None) -> Iterator[str]:
    """The audit for a reader: the artifact, what it was made from, packages, runs, raw files.

    Donors that are left out now are told where they are not those of when the artifact was made.
    """
    manifest = ancestry.root.manifest
    state = "in force" if ancestry.in_force else "not in force"
    yield ancestry.root.name
    yield f"  artifact     {manifest.input_key}, {state}"
    yield f"  content      {manifest.data_version}"
    yield f"  made         {manifest.created} in {manifest.seconds:.1f} s, run {manifest.run_id}"
    yield f"  settings     {_settings(manifest)}"
    yield f"  seed         {manifest.seed}, code version {manifest.code_version}, {manifest.determinism}"
    yield f"  donors in    {len(manifest.donors)}: {', '.join(manifest.donors)}"
    for donor, reason in manifest.donors_left_out.items():
        yield f"  donor out    {donor}: {reason}"
    yield from _changed_lines(manifest.donors_left_out, left_out_now)
    for other in ancestry.retained:
        if place_of(other) != place_of(ancestry.root):
            yield f"  also kept    {other.manifest.input_key}, made {other.manifest.created}"
    yield ""
    yield f"made from {len(ancestry.artifacts) - 1} artifacts (input key, content, code version, seed, time, run)"
    yield from _ancestor_lines(ancestry)
    yield ""
    yield from _package_lines(ancestry.artifacts)
    runs = _runs(ancestry.artifacts)
    yield f"runs         {len(runs)}"
    for run_id, facts in runs.items():
        yield f"  {run_id}  {facts['first']} to {facts['last']}, {facts['artifacts']} artifacts"
    sources = _sources(ancestry.artifacts)
    yield f"raw files    {len(sources)}, {sum(source.size for source in sources) / 1e6:.1f} MB (SHA-256, bytes, path)"
    for source in sources:
        yield f"  {source.sha256}  {source.size}  {source.path}"
    yield from (f"fault: {line}" for line in ancestry.faults)


def _changed_lines(then: Mapping[str, str], now: Mapping[str, str] | None) -> Iterator[str]:
    """How the donors that are left out now differ from those that were when the artifact was made."""
    if now is None:
        return
    for donor, reason in now.items():
        if then.get(donor) != reason:
            yield f"  out by now   {donor}: {reason}"
    for donor in then:
        if donor not in now:
            yield f"  out by now   {donor} no longer"


def _ancestor_lines(ancestry: Ancestry) -> Iterator[str]:
    """One line per artifact; of an asset with one per donor, settings once where all have the same."""
    by_asset: dict[str, list[Manifest]] = defaultdict(list)
    for artifact in ancestry.artifacts[1:]:
        by_asset[artifact.manifest.asset].append(artifact.manifest)
    for asset, manifests in by_asset.items():
        yield f"  {asset}"
        shared = len({canonical_json(manifest.settings) for manifest in manifests}) == 1
        if shared and manifests[0].settings:
            yield f"    settings: {_settings(manifests[0])}"
        for manifest in manifests:
            donor = "" if manifest.partition == UNPARTITIONED else f"{manifest.partition} "
            facts = f"v{manifest.code_version} seed {manifest.seed}  {manifest.created}  {manifest.run_id[:8]}"
            yield f"    {donor}{manifest.input_key[:12]}  {manifest.data_version[:12]}  {facts}"
            if not shared:
                yield f"      settings: {_settings(manifest)}"
            yield from _donor_lines(manifest, ancestry.root.manifest)


def _donor_lines(manifest: Manifest, root: Manifest) -> Iterator[str]:
    """Donors of a cohort's artifact where they are not those of the root: a frozen basis holds earlier ones."""
    if manifest.partition != UNPARTITIONED or root.partition != UNPARTITIONED:
        return
    if manifest.donors != root.donors:
        yield f"      donors in: {len(manifest.donors)}: {', '.join(manifest.donors)}"
    for donor, reason in manifest.donors_left_out.items():
        if root.donors_left_out.get(donor) != reason:
            yield f"      donor out: {donor}: {reason}"


def _package_lines(artifacts: tuple[Artifact, ...]) -> Iterator[str]:
    """Packages that all artifacts were made with; where versions differ, which made how many."""
    versions: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for artifact in artifacts:
        for name, version in artifact.manifest.packages.items():
            versions[name][version] += 1
    same = [f"{name} {next(iter(found))}" for name, found in versions.items() if len(found) == 1]
    yield f"packages     {', '.join(same) or 'none that all have in common'}"
    for name, found in versions.items():
        if len(found) > 1:
            yield f"  {name}: " + ", ".join(f"{version} ({count} artifacts)" for version, count in found.items())


def _runs(artifacts: tuple[Artifact, ...]) -> dict[str, dict[str, Any]]:
    """Runs by id, the earliest first: when their first and last artifact was made, and how many."""
    runs: dict[str, dict[str, Any]] = {}
    for artifact in sorted(artifacts, key=lambda each: each.manifest.created):
        created = artifact.manifest.created
        facts = runs.setdefault(artifact.manifest.run_id, {"first": created, "last": created, "artifacts": 0})
        facts["last"] = created
        facts["artifacts"] += 1
    return runs


def _sources(artifacts: tuple[Artifact, ...]) -> list[SourceRecord]:
    return sorted({source for each in artifacts for source in each.manifest.sources}, key=lambda source: source.path)


def _artifact_table(artifact: Artifact) -> dict[str, Any]:
    """The manifest without what only the store itself needs."""
    table = json.loads(artifact.manifest.to_json())
    for name in ("parts", "own_hash", "manifest_version"):
        del table[name]
    table["folder"] = str(artifact.folder)
    return dict(table)


def _settings(manifest: Manifest) -> str:
    """Settings in one line, ``name=value``, those of a table with its name before them."""
    return " ".join(_pairs(manifest.settings)) or "none"


def _pairs(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _pairs(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={value if isinstance(value, str) else canonical_json(value)}"

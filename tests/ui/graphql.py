"""GraphQL of the Dagster UI: what its pages ask, and the runs that its buttons launch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Ask = Callable[..., Any]
"""``ask(query, **variables)`` gives the answer's data."""

LOCATION = {"repositoryLocationName": "stalign_assets.definitions", "repositoryName": "__repository__"}
JOB = "__ASSET_JOB"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")

NODES = """{ assetNodes {
  assetKey { path } groupName description isPartitioned pools jobNames
  partitionDefinition { name type }
} }"""

PARTITIONS = """query ($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
  partitionKeys
  partitionStats { numMaterialized numFailed numPartitions }
} } }"""

MATERIALISATIONS = """query ($path: [String!]!) { assetOrError(assetKey: {path: $path}) { ... on Asset {
  assetMaterializations(limit: 20) { runId partition metadataEntries {
    label __typename
    ... on IntMetadataEntry { intValue }
    ... on FloatMetadataEntry { floatValue }
    ... on BoolMetadataEntry { boolValue }
    ... on TextMetadataEntry { text }
    ... on PathMetadataEntry { path }
    ... on JsonMetadataEntry { jsonString }
    ... on MarkdownMetadataEntry { mdStr }
  } }
} } }"""

CHECKS = """query ($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks {
    name description blocking
    executionForLatestMaterialization { status partition evaluation { success } }
  } } }
} } }"""

LAUNCH = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }"""

RUN = """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
  status
  stepStats { stepKey status }
} } }"""

VALUES = {
    "IntMetadataEntry": "intValue",
    "FloatMetadataEntry": "floatValue",
    "BoolMetadataEntry": "boolValue",
    "TextMetadataEntry": "text",
    "PathMetadataEntry": "path",
    "JsonMetadataEntry": "jsonString",
    "MarkdownMetadataEntry": "mdStr",
}


def latest_metadata(ask: Ask, asset: str, partition: str | None = None) -> dict[str, Any]:
    """Metadata of an asset's last materialisation, by label."""
    materialisations = ask(MATERIALISATIONS, path=asset.split("/"))["assetOrError"]["assetMaterializations"]
    latest = next(entry for entry in materialisations if entry["partition"] == partition)
    return {entry["label"]: entry[VALUES[entry["__typename"]]] for entry in latest["metadataEntries"]}


def launch(ask: Ask, assets: Sequence[str], partition: str | None = None) -> str:
    """Launch a run as the button `Materialize` does; returns the run's id."""
    tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
    params = {
        "selector": {**LOCATION, "jobName": JOB, "assetSelection": [{"path": asset.split("/")} for asset in assets]},
        "runConfigData": {},
        "executionMetadata": {"tags": tags},
    }
    launched = ask(LAUNCH, params=params)["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id: str = launched["run"]["runId"]
    return run_id


def wait_for(ask: Ask, run_id: str, seconds: float) -> Mapping[str, Any]:
    """Poll a run until it ends; returns it as it ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run: Mapping[str, Any] = ask(RUN, id=run_id)["runOrError"]
        if run["status"] in ENDED:
            return run
        time.sleep(1)
    raise TimeoutError(f"run {run_id} did not end within {seconds} s")

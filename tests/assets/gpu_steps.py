"""Two steps that need the pool `gpu`, each in a process of its own, which say whether they met."""

import time
from pathlib import Path

import dagster as dg

from stalign_assets.platform.executors.local import local_executor
from stalign_assets.pools import GPU_POOL


def _step(own: str, other: str) -> dg.OpDefinition:
    @dg.op(name=own, pool=GPU_POOL, config_schema={"folder": str, "seconds": float}, out=dg.Out(bool))
    def look_out(context: dg.OpExecutionContext) -> bool:
        folder = Path(context.op_config["folder"])
        (folder / own).touch()
        deadline = time.monotonic() + context.op_config["seconds"]
        while not (met := (folder / other).exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        # Whoever was met has to see it before it is gone.
        time.sleep(0.5)
        (folder / own).unlink()
        return met

    return look_out


_FIRST, _SECOND = _step("first", "second"), _step("second", "first")


@dg.job(executor_def=local_executor(2))
def two_steps() -> None:
    """Neither waits for what the other makes."""
    _FIRST()
    _SECOND()

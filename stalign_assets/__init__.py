"""stalign_assets: the Dagster platform and the ``stalign`` command around `stalign_core`."""

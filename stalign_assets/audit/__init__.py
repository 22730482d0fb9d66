"""Where a result comes from, whether it is still what was stored, and what has changed since: told from manifests."""

"""What each asset is made from, and how: one declaration per asset, read by Dagster, planning and audit alike."""

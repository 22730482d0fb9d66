"""Dagster: the asset graph built from the recipes, with its partitions, checks and resources."""

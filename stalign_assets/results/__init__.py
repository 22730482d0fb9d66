"""Tables over everything: the DuckDB file and the CSV files that people read."""

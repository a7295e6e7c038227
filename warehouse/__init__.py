"""Stores all tables of the project: one Parquet file per partition, queried with DuckDB."""

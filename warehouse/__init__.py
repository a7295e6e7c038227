"""The warehouse: DuckDB over one Parquet file per partition."""

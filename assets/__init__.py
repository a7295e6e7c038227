"""The stages of the paper as Dagster assets: read, call the engine, write, report."""

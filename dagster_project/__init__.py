"""The Dagster project: definitions, runs, command line."""
